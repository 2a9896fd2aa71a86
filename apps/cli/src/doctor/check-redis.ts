import { readRedisConnection } from '@spanbuf/service';
import type { AppName, SystemSettings } from './doctor-settings.ts';
import type { Finding } from './finding.ts';
import { type ClockReading, readClock } from './redis-clock.ts';
import { isDenied, openRedisNodes, type RedisNode, type RedisSystem } from './redis-nodes.ts';
import { missingRights } from './redis-rights.ts';

const SLOTS = 16_384;
const MIN_MAJOR = 7;
/** Above it clocks are not kept in step by anything. */
const SKEW_WARNING_SECONDS = 1;

export interface Patient {
  readonly settings: SystemSettings;
  readonly apps: readonly AppName[];
  /** Unix milliseconds. */
  readonly clockMs: () => number;
}

/** All that can be seen of Redis. */
export async function checkRedis(patient: Patient): Promise<Finding[]> {
  const { settings } = patient;
  const system = await openRedisNodes(readRedisConnection(settings));
  try {
    if (system.problem !== undefined) return [away('redis-reach', system.problem, 'SPANBUF_REDIS_URL')];
    const wrongKind = checkKind(system);
    if (wrongKind !== undefined) return [wrongKind];
    const findings = [...checkReach(system), ...checkVersions(system), ...checkCoverage(system)];
    const nodes = system.nodes.filter(({ client }) => client !== undefined);
    for (const node of nodes) findings.push(...checkMemory(node), await checkLazyFree(node));
    findings.push(...checkReplicas(nodes, settings), ...(await checkRights(nodes, patient)));
    findings.push(...(await checkClocks(nodes, patient)));
    return findings;
  } catch (error) {
    // It answered a moment ago.
    return [away('redis-reach', (error as Error).message, 'SPANBUF_REDIS_URL')];
  } finally {
    system.close();
  }
}

/** The whole of something could not be asked. */
export function away(check: Finding['check'], problem: string, setting: string): Finding {
  return {
    check,
    level: 'unknown',
    detail: problem,
    why: 'nothing of it could be looked at, and the services could not start',
    remedy: `see that it runs and can be reached from here, and that ${setting} and what belongs to it are right`,
  };
}

function checkKind({ kind, nodes }: RedisSystem): Finding | undefined {
  const node = nodes.find(({ client }) => client !== undefined);
  const mode = node?.hello.get('mode');
  if (mode === undefined) return undefined;
  const finding = (detail: string, remedy: string): Finding => ({
    check: 'redis-kind',
    level: 'fault',
    subject: node?.name,
    detail,
    why: 'the services refuse to start',
    remedy,
  });
  if (mode === 'sentinel') return finding('it is a Sentinel', 'name the Redis that it watches in SPANBUF_REDIS_URL');
  if (kind === 'node' && mode === 'cluster')
    return finding('it is a node of a cluster', 'begin SPANBUF_REDIS_URL with redis-cluster://');
  if (kind === 'cluster' && mode !== 'cluster')
    return finding('it is not a cluster', 'begin SPANBUF_REDIS_URL with redis://');
  return undefined;
}

function checkReach({ nodes }: RedisSystem): Finding[] {
  const lost = nodes.flatMap(({ name, isReplica, problem }): Finding[] => {
    if (problem === undefined) return [];
    return [
      {
        check: 'redis-reach',
        level: 'fault',
        subject: name,
        detail: `this ${isReplica ? 'replica' : 'master'} cannot be used from here: ${problem}`,
        why: isReplica
          ? 'after a failover the services could not work with it'
          : 'batches and flushes that need it wait until it is back',
        remedy:
          'start it, or let it be reached under the address that the cluster gives; users are to be set on every node',
      },
    ];
  });
  if (lost.length > 0) return lost;
  return [{ check: 'redis-reach', level: 'ok', detail: `${counted(nodes.length, 'node')} can be reached` }];
}

function checkVersions({ nodes }: RedisSystem): Finding[] {
  const versions = new Map(
    nodes.flatMap(({ name, hello }) => (hello.has('version') ? [[name, hello.get('version') ?? '']] : [])),
  );
  const old = [...versions].filter(([, version]) => !(Number.parseInt(version, 10) >= MIN_MAJOR));
  if (old.length === 0) {
    const kinds = [...new Set(versions.values())].join(', ');
    return [{ check: 'redis-version', level: 'ok', detail: `version ${kinds}` }];
  }
  return old.map(([name, version]) => ({
    check: 'redis-version',
    level: 'fault',
    subject: name,
    detail: `it is Redis ${version}`,
    why: `scripts say by flags what they do, which Redis knows since ${MIN_MAJOR}.0; the services refuse to start`,
    remedy: `upgrade it to Redis ${MIN_MAJOR}.0 or newer`,
  }));
}

function checkCoverage({ cluster }: RedisSystem): Finding[] {
  if (cluster === undefined) return [];
  const field = (name: string): string => new RegExp(`^${name}:(\\S+)`, 'm').exec(cluster.info)?.[1] ?? '';
  const missing = SLOTS - cluster.slotCount;
  const failing = Number(field('cluster_slots_pfail')) + Number(field('cluster_slots_fail'));
  const problems = [
    ...(missing > 0 ? [`${missing} of ${SLOTS} slots are served by no node`] : []),
    ...(failing > 0 ? [`the nodes of ${failing} slots do not answer the others`] : []),
    ...(field('cluster_state') === 'ok' ? [] : [`cluster_state is ${field('cluster_state')}`]),
  ];
  if (problems.length === 0) {
    const detail = `all ${SLOTS} slots are served, by ${counted(Number(field('cluster_size')), 'master')}`;
    return [{ check: 'redis-coverage', level: 'ok', detail }];
  }
  return [
    {
      check: 'redis-coverage',
      level: 'fault',
      detail: problems.join('; '),
      why: 'traces, payloads and queues of these slots cannot be written or read; the consumer waits',
      remedy: 'bring the nodes back, or give their slots to others: redis-cli --cluster check, and --cluster fix',
    },
  ];
}

function checkMemory({ name, info }: RedisNode): Finding[] {
  if (info === undefined) {
    const unknown = {
      level: 'unknown',
      subject: name,
      detail: 'could not look: this user may not call INFO',
      remedy: 'permit +info, as deploy/redis/users.acl does',
    } as const;
    return [
      { ...unknown, check: 'redis-eviction', why: 'a Redis that evicts loses spans without a word' },
      { ...unknown, check: 'redis-maxmemory', why: 'without INFO the consumer does not pause before Redis is full' },
    ];
  }
  const policy = info.get('maxmemory_policy') ?? '';
  const eviction: Finding =
    policy === 'noeviction'
      ? { check: 'redis-eviction', level: 'ok', subject: name, detail: 'maxmemory-policy is noeviction' }
      : {
          check: 'redis-eviction',
          level: 'fault',
          subject: name,
          detail: `maxmemory-policy is ${policy}`,
          why: 'when it is full, Redis deletes keys of segments that wait: their spans are lost without a word',
          remedy: 'CONFIG SET maxmemory-policy noeviction on every node, and in its configuration',
        };
  const maxBytes = Number(info.get('maxmemory') ?? 0);
  const memory: Finding =
    maxBytes > 0
      ? { check: 'redis-maxmemory', level: 'ok', subject: name, detail: `maxmemory is ${maxBytes} bytes` }
      : {
          check: 'redis-maxmemory',
          level: 'fault',
          subject: name,
          detail: 'maxmemory is not set',
          why: 'the consumer never pauses for memory, and when flushers are away the system kills Redis, with what it holds',
          remedy: 'CONFIG SET maxmemory on every node, below what its machine has, and in its configuration',
        };
  return [eviction, memory];
}

async function checkLazyFree({ name, client }: RedisNode): Promise<Finding> {
  const option = 'lazyfree-lazy-expire';
  const why = 'a trace or a colocated payload of thousands of fields holds up its node while it expires';
  const at = { check: 'redis-lazyfree', subject: name } as const;
  try {
    const reply = (await client?.call('CONFIG', 'GET', option)) as string[] | Record<string, string>;
    const value = Array.isArray(reply) ? reply[1] : reply[option];
    if (value === 'yes') return { ...at, level: 'ok', detail: `${option} is on` };
    const remedy = `CONFIG SET ${option} yes on every node, and in its configuration`;
    return { ...at, level: 'warning', detail: `${option} is off`, why, remedy };
  } catch (error) {
    if (!isDenied(error)) throw error;
    // Not a fault, whatever it is: so it does not count as one that nobody looked for.
    const detail = `could not look at ${option}: this user may not call CONFIG GET`;
    return { ...at, level: 'ok', detail };
  }
}

function checkReplicas(nodes: readonly RedisNode[], { waitReplicas }: SystemSettings): Finding[] {
  if (waitReplicas === 0) return [];
  return nodes
    .filter(({ isReplica, info }) => !isReplica && info !== undefined)
    .map(({ name, info }): Finding => {
      const count = Number(info?.get('connected_slaves') ?? 0);
      const at = { check: 'redis-replicas', subject: name } as const;
      if (count >= waitReplicas) return { ...at, level: 'ok', detail: `${counted(count, 'replica')} connected` };
      return {
        ...at,
        level: 'fault',
        detail: `${counted(count, 'replica')} connected, and SPANBUF_WAIT_REPLICAS is ${waitReplicas}`,
        why: 'no batch is ever acknowledged by as many: the consumer tries the first one again and again',
        remedy: 'add replicas to every master, or lower SPANBUF_WAIT_REPLICAS',
      };
    });
}

async function checkRights(nodes: readonly RedisNode[], { settings, apps }: Patient): Promise<Finding[]> {
  const isCluster = nodes.some(({ hello }) => hello.get('mode') === 'cluster');
  const findings: Finding[] = [];
  for (const { name, client, hello } of nodes) {
    // An older one does not know the flags of the script that asks.
    if (client === undefined || !(Number.parseInt(hello.get('version') ?? '', 10) >= MIN_MAJOR)) continue;
    for (const app of apps) {
      const missing = await missingRights(client, app, { isCluster });
      const user = settings.redisUsername ?? 'of SPANBUF_REDIS_URL';
      if (missing.length === 0) {
        findings.push({
          check: 'redis-rights',
          level: 'ok',
          subject: name,
          detail: `all that a ${app} needs is permitted`,
        });
        continue;
      }
      findings.push({
        check: 'redis-rights',
        level: 'fault',
        subject: name,
        detail: `user ${user} lacks what a ${app} needs: ${missing.join(' ')}`,
        why: `the ${app} fails at the first command that is not permitted`,
        remedy: `ACL SETUSER … ${missing.join(' ')} on every node, or use deploy/redis/users.acl; where each service has a user of its own, ask with --app ${app} as that user`,
      });
    }
  }
  return findings;
}

async function checkClocks(nodes: readonly RedisNode[], { settings, clockMs }: Patient): Promise<Finding[]> {
  const readings: (ClockReading & { readonly name: string })[] = [];
  for (const { name, client } of nodes)
    if (client !== undefined) readings.push({ name, ...(await readClock(client, clockMs)) });
  const limitSeconds = settings.clockGraceSeconds;
  const findings: Finding[] = [];
  const judge = (subject: string, differsSeconds: number, from: string): void => {
    if (Math.abs(differsSeconds) < SKEW_WARNING_SECONDS) return;
    const isFault = Math.abs(differsSeconds) >= limitSeconds;
    findings.push({
      check: 'redis-clock',
      level: isFault ? 'fault' : 'warning',
      subject,
      detail: `its clock is ${Math.abs(differsSeconds).toFixed(1)} s ${differsSeconds > 0 ? 'ahead of' : 'behind'} ${from}`,
      why: isFault
        ? `that is SPANBUF_CLOCK_GRACE_SECONDS (${limitSeconds}) or more: flushers wait for nothing, or for what is not late, and segments go out in pieces`
        : 'flushers and backstops are early or late by as much',
      remedy: 'keep the clocks of all machines in step: chrony, ntpd or what the provider has',
    });
  };
  // In which way this machine is wrong shows where all nodes say so; which node is, where one differs from the middle.
  const middle =
    readings.map(({ aheadSeconds }) => aheadSeconds).sort((a, b) => a - b)[Math.floor(readings.length / 2)] ?? 0;
  const others = readings.filter(({ aheadSeconds }) => Math.abs(aheadSeconds - middle) < SKEW_WARNING_SECONDS);
  for (const { name, aheadSeconds, uncertainSeconds } of readings) {
    if (others.some((other) => other.name === name)) continue;
    judge(name, beyond(aheadSeconds - middle, uncertainSeconds), 'the others');
  }
  const nearest = others[0];
  if (nearest !== undefined)
    judge('this machine', -beyond(middle, nearest.uncertainSeconds), `Redis (${nearest.name})`);
  if (findings.length > 0 || readings.length === 0) return findings;
  const most = Math.max(...readings.map(({ aheadSeconds }) => Math.abs(aheadSeconds)));
  return [{ check: 'redis-clock', level: 'ok', detail: `clocks differ by ${most.toFixed(3)} s at most` }];
}

/** What is certain of a difference. */
function beyond(seconds: number, uncertainSeconds: number): number {
  return Math.sign(seconds) * Math.max(0, Math.abs(seconds) - uncertainSeconds);
}

function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
