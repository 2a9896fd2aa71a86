/** How each fault of the schedule is brought about, and ended. */
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '@spanbuf/stack/processes';
import type { Disturbance } from '@spanbuf/tooling/link-proxy';
import { type ChaosSystem, callRedis, REDIS_MEGABYTES, type Shard } from './chaos-system.ts';
import { type FaultName, FLUSHERS, type PlannedFault, SHARDS } from './schedule.ts';
import type { SupervisedApp } from './supervised-app.ts';

/** Resolves when the fault is over, though its effects may not be. Answers what the plan does not say. */
type Bring = (system: ChaosSystem, planned: PlannedFault) => Promise<string>;

/** How long a replica may take to become a master. */
const TAKEOVER_SECONDS = 20;
/** After this the other flusher has looked at the queues again. */
const SETTLED_MS = 1_500;
const FREEZE_ATTEMPTS = 10;
/** How long what a flusher sends to Kafka is under way while it is to be found sending. Far below its lease. */
const SENDING_MS = 500;
/** Below what an empty Redis uses. */
const FULL_BYTES = 1_000_000;

const BRING: Readonly<Record<FaultName, Bring>> = {
  'consumer-kill': killApp,
  'consumer-freeze': freezeApp,
  'flusher-kill': killApp,
  'flusher-freeze': freezeApp,
  'flusher-freeze-past-lease': freezeWithSegments,
  'redis-replica-kill': onShard(async ({ replica }, { seconds }) => {
    await replica.kill();
    await delay(1_000 * seconds);
    await replica.restart();
    return `replica ${replica.port}`;
  }),
  'redis-failover': onShard(async (shard, { seconds }, system) => {
    const isOver = delay(1_000 * seconds);
    await shard.master.kill();
    try {
      await system.redis.failover(shard.master);
      await isOver;
    } finally {
      await shard.master.restart();
    }
    return tookOver(shard);
  }),
  'redis-freeze': onShard(async ({ master }, { seconds }) => {
    master.pause();
    await delay(1_000 * seconds);
    master.resume();
    return `master ${master.port}`;
  }),
  'redis-freeze-failover': onShard(async (shard, { seconds }, system) => {
    shard.master.pause();
    try {
      await Promise.all([delay(1_000 * seconds), system.redis.failover(shard.master)]);
    } finally {
      shard.master.resume();
    }
    return tookOver(shard);
  }),
  'redis-replication-cut': onShard(async (shard, { seconds }, system) => {
    const heal = cutReplication(shard, system);
    await delay(1_000 * seconds);
    heal();
    return `replica ${shard.replica.port} from master ${shard.master.port}`;
  }),
  'redis-lost-writes': onShard(async (shard, { seconds }, system) => {
    const { master, replica } = shard;
    const heal = cutReplication(shard, system);
    try {
      await delay(1_000 * seconds);
      await master.kill();
      await callRedis(replica, 'CLUSTER', 'FAILOVER', 'TAKEOVER');
      await until('the replica has taken over', TAKEOVER_SECONDS, async () => {
        const [role] = (await callRedis(replica, 'ROLE')) as unknown[];
        return role === 'master';
      });
    } finally {
      heal();
      await master.restart();
    }
    return tookOver(shard);
  }),
  'redis-flushall-one': onShard(async ({ master }) => {
    await callRedis(master, 'FLUSHALL', 'SYNC');
    return `master ${master.port}`;
  }),
  'redis-flushall-all': async (system) => {
    const shards = await Promise.all(SHARDS.map((name) => system.shard(name)));
    await Promise.all(shards.map(({ master }) => callRedis(master, 'FLUSHALL', 'SYNC')));
    return '';
  },
  'redis-full': async (system, { target, seconds }) => {
    const names = SHARDS.filter((name) => target === name || target === 'redis');
    const shards = await Promise.all(names.map((name) => system.shard(name)));
    const limit = (bytes: number) =>
      Promise.all(shards.map(({ master }) => callRedis(master, 'CONFIG', 'SET', 'maxmemory', bytes)));
    await limit(FULL_BYTES);
    await delay(1_000 * seconds);
    await limit(REDIS_MEGABYTES * 1_024 * 1_024);
    return shards.map(({ master }) => `master ${master.port}`).join(', ');
  },
  'script-flush': async (system) => {
    const running = system.redis.nodes.filter((node) => node.running);
    // A node that another fault has in hand may not answer.
    await Promise.allSettled(running.map((node) => callRedis(node, 'SCRIPT', 'FLUSH', 'SYNC')));
    return `${running.length} nodes`;
  },
  'kafka-kill': async ({ kafkaServers }, { seconds }) => {
    await kafkaServers.kill();
    await delay(1_000 * seconds);
    await kafkaServers.restart();
    return '';
  },
  'kafka-restart': async ({ kafkaServers }, { seconds }) => {
    await kafkaServers.kill('SIGTERM');
    await delay(1_000 * seconds);
    await kafkaServers.restart();
    return '';
  },
  'kafka-freeze': async ({ kafkaServers }, { seconds }) => {
    kafkaServers.pause();
    await delay(1_000 * seconds);
    kafkaServers.resume();
    return '';
  },
  'link-cut': (system, planned) => disturbLink(system, planned, { kind: 'cut' }),
  'link-silence': (system, planned) => disturbLink(system, planned, { kind: 'silence' }),
  'link-delay': (system, planned) => disturbLink(system, planned, { kind: 'delay', milliseconds: planned.amount ?? 0 }),
  'clock-jump': async (system, { target, seconds, amount = 0 }) => {
    const app = system.app(target);
    app.shiftClock(amount);
    await delay(1_000 * seconds);
    app.shiftClock(0);
    return '';
  },
};

/** @throws Error when it could not be done as planned; what it disturbed is put right all the same. */
export function bringAbout(system: ChaosSystem, planned: PlannedFault): Promise<string> {
  return BRING[planned.fault](system, planned);
}

async function killApp(system: ChaosSystem, { target, seconds }: PlannedFault): Promise<string> {
  await system.app(target).kill(seconds);
  await delay(1_000 * seconds);
  return '';
}

async function freezeApp(system: ChaosSystem, { target, seconds }: PlannedFault): Promise<string> {
  const app = system.app(target);
  app.freeze();
  await delay(1_000 * seconds);
  app.thaw();
  return '';
}

/** Frozen where it has segments in hand, whose leases then run out. */
async function freezeWithSegments(system: ChaosSystem, { target, seconds }: PlannedFault): Promise<string> {
  const app = system.app(target);
  const other = system.app(FLUSHERS.find((name) => name !== target) ?? target);
  // Sending takes a moment only: made longer, it is what it is found doing.
  const disturbance: Disturbance = { kind: 'delay', milliseconds: SENDING_MS };
  const heal = system.kafkaProxy.disturb({ disturbance, pid: () => app.pid });
  try {
    return await freezeSending(app, other, seconds);
  } finally {
    heal();
  }
}

async function freezeSending(app: SupervisedApp, other: SupervisedApp, seconds: number): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    await delay(SENDING_MS);
    app.freeze();
    await delay(SETTLED_MS);
    // What the other one has in hand itself is not counted: it looks before it takes more.
    const metrics = await other.metrics().catch(() => undefined);
    const inHand = metrics?.sum('spanbuf_flusher_queued_segments', { state: 'in-flight' }) ?? 0;
    if (inHand > 0 || attempt === FREEZE_ATTEMPTS) {
      await delay(1_000 * seconds - SETTLED_MS);
      app.thaw();
      return `with ${inHand} segments in hand`;
    }
    app.thaw();
    // Another moment of its turn each time.
    await delay(37 * attempt);
  }
}

function onShard(bring: (shard: Shard, planned: PlannedFault, system: ChaosSystem) => Promise<string>): Bring {
  return async (system, planned) => bring(await system.shard(planned.target), planned, system);
}

function cutReplication({ master, replica }: Shard, system: ChaosSystem): () => number {
  return system.proxyOf(master).disturb({ disturbance: { kind: 'cut' }, pid: () => replica.pid });
}

const tookOver = ({ master, replica }: Shard): string => `${replica.port} took over from ${master.port}`;

async function disturbLink(
  system: ChaosSystem,
  { target, seconds }: PlannedFault,
  disturbance: Disturbance,
): Promise<string> {
  const [appName = '', server = ''] = target.split('~');
  const app = system.app(appName);
  const proxy = server === 'kafka' ? system.kafkaProxy : system.proxyOf((await system.shard(server)).master);
  const heal = proxy.disturb({ disturbance, pid: () => app.pid });
  await delay(1_000 * seconds);
  return `${heal()} connections`;
}
