/**
 * What can be known of the images, compose.yaml and deploy/ without Docker and Kubernetes: images are built by the commands
 * of their Dockerfiles and started; files are given to the checkers of their formats; the settings in them to the apps.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startServer } from '../redis-server.ts';
import { ROOT, run } from '../toolchain.mjs';
import {
  composeEnvironment,
  type DeployFiles,
  DOCKERFILES,
  type Json,
  MANIFESTS,
  mountedFiles,
  podEnvironment,
  readDeployFiles,
} from './deploy-files.ts';
import { type BuiltImage, buildImage, plainEnvironment, readInstructions } from './dockerfile.ts';
import { PythonToolsMissingError, pythonTools } from './python-tools.ts';

const APPS = ['consumer', 'flusher'] as const;
const PACKAGES = ['buffer', 'kafka', 'keys', 'service', 'store'];
/** Oldest version of Kubernetes that manifests are checked against; the newest is the tool's. */
const OLDEST_KUBERNETES = '1.28';
const NODE_BIN = join(ROOT, 'node_modules', 'node', 'bin');
const read = (path: string) => readFileSync(path, 'utf8');

const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-deploy-'));
const images = new Map<string, BuiltImage>();

beforeAll(async () => {
  const build = async (app: string): Promise<void> => {
    mkdirSync(join(scratch, app));
    images.set(app, await buildImage(join(ROOT, 'apps', app, 'Dockerfile'), join(scratch, app)));
  };
  await Promise.all(APPS.map(build));
}, 600_000);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const imageOf = (app: string): BuiltImage => images.get(app) ?? expect.fail(`no image of ${app}`);

/** Starts the image as a container would, with the pinned Node: its entry point, arguments, nothing but `env`. */
function start(app: string, args: readonly string[], env: Record<string, string> = {}): string {
  const { entrypoint, workdir } = imageOf(app);
  const PATH = [NODE_BIN, plainEnvironment()['PATH']].join(delimiter);
  const [command = '', ...first] = entrypoint;
  return execFileSync(command, [...first, ...args], { cwd: workdir, env: { PATH, ...env }, encoding: 'utf8' });
}

describe.each(APPS)('the image of the %s', (app) => {
  const inImage = (pattern: string) => globSync(pattern, { cwd: imageOf(app).workdir });
  /** Names of everything that was installed in it. */
  const packages = () =>
    inImage('node_modules/.pnpm/*@*').map((path) =>
      basename(path)
        .replace('+', '/')
        .replace(/^(@?[^@]+)@.*/, '$1'),
    );

  it('holds the app and the packages it is built on, and nothing of any other app', () => {
    expect(JSON.parse(read(join(imageOf(app).workdir, 'package.json'))).name).toBe(`@spanbuf/${app}`);
    const ours = packages().filter((name) => name.startsWith('@spanbuf/'));
    expect(ours.sort()).toEqual(PACKAGES.map((name) => `@spanbuf/${name}`));
    const own = ['dist/**/*.js', 'node_modules/.pnpm/@spanbuf*/node_modules/@spanbuf/*/dist/**/*.js'].flatMap(inImage);
    expect(own.length).toBeGreaterThan(40);
    for (const other of ['consumer', 'flusher', 'cli', 'tooling'].filter((each) => each !== app)) {
      for (const path of own) expect(read(join(imageOf(app).workdir, path)), path).not.toContain(`'@spanbuf/${other}`);
      const paths = readdirSync(imageOf(app).root, { recursive: true, encoding: 'utf8' });
      expect(paths.filter((path) => new RegExp(`(?:apps|@spanbuf)[/+]${other}`).test(path))).toEqual([]);
    }
  });

  it('holds no tools, no sources and no lockfile', () => {
    expect(packages()).toEqual(expect.arrayContaining(['ioredis', 'kafkajs', 'pino', 'zod']));
    const tools = packages().filter((name) => /^(?:vite|vitest|typescript|turbo|fast-check|@types\/.*)$/.test(name));
    // protobufjs, of OpenTelemetry, says that it needs them.
    expect(tools.filter((name) => name !== '@types/node')).toEqual([]);
    const top = readdirSync(imageOf(app).workdir).filter((name) => name !== 'README.md');
    expect(top.sort()).toEqual(['LICENSE', 'dist', 'node_modules', 'package.json']);
  });

  it('holds native packages for the C library of its base image, and they load', () => {
    const natives = inImage('node_modules/.pnpm/**/*.node').map((path) => join(imageOf(app).workdir, path));
    expect(natives).toHaveLength(2);
    for (const native of natives) expect(basename(native)).toMatch(/^(?:snappy|lz4-napi)\.linux-\w+-gnu\.node$/);
    run(join(NODE_BIN, 'node'), ['-e', natives.map((native) => `require(${JSON.stringify(native)});`).join('')]);
  });

  it('starts', () => {
    const { version } = JSON.parse(read(join(ROOT, 'apps', app, 'package.json')));
    expect(start(app, ['--version'])).toBe(`${version}\n`);
  });

  it('runs as a user that is not root, and stops on SIGTERM', () => {
    expect(imageOf(app).settings).toMatchObject({ USER: '1000:1000', STOPSIGNAL: 'SIGTERM', EXPOSE: '9464' });
  });
});

it('every image is built in the same way', () => {
  const stages = DOCKERFILES.map((path) => {
    const building = readInstructions(read(join(ROOT, path))).filter(([name]) => /^(?:FROM|COPY|RUN)$/.test(name));
    return JSON.stringify(building).replaceAll(`@spanbuf/${basename(dirname(path))}`, '@spanbuf/APP');
  });
  expect(stages).toHaveLength(3);
  expect(new Set(stages).size).toBe(1);
});

it('three empty Redis servers become a cluster, and doing it again changes nothing', async () => {
  const nodes = await Promise.all([1, 2, 3].map(() => startServer({}, true)));
  onTestFinished(() => Promise.all(nodes.map((node) => node.stop())).then(() => undefined));
  const create = () =>
    run('sh', ['deploy/compose/create-redis-cluster.sh', ...nodes.map(({ port }) => `localhost:${port}`)]);
  const slots = () => run('redis-cli', ['-p', `${nodes[2]?.port}`, 'CLUSTER', 'SLOTS']);
  expect(create()).toContain('cluster of 3 nodes is up');
  const before = slots();
  for (const { port } of nodes) expect(before).toContain(`${port}`);
  expect(create()).toContain('cluster of 3 nodes is up');
  expect(slots()).toBe(before);
});

const tools = findTools();
function findTools(): string | undefined {
  try {
    return pythonTools();
  } catch (error) {
    if (!(error instanceof PythonToolsMissingError) || process.env['CI'] !== undefined) throw error;
    console.warn(`Dockerfiles, compose.yaml and deploy/ are NOT checked: ${error.message}`);
    return undefined;
  }
}

describe.skipIf(tools === undefined)('Dockerfiles, compose.yaml and deploy/', () => {
  const bin = tools ?? '';
  const python = (...args: string[]) => run(join(bin, 'python'), args);
  let files: DeployFiles;
  beforeAll(() => {
    files = readDeployFiles(join(bin, 'python'));
  });

  it('hadolint has nothing to say about the Dockerfiles', () => {
    run(join(bin, 'hadolint'), ['--no-color', ...DOCKERFILES]);
  });

  it('compose.yaml follows the Compose Specification', () => {
    python('-m', 'check_jsonschema', '--builtin-schema', 'vendor.compose-spec', 'compose.yaml');
  });

  it('compose.yaml builds from and mounts files that exist, and waits for services that exist', () => {
    for (const service of Object.values(files.services)) {
      for (const name of Object.keys(service.depends_on ?? {})) expect(files.services).toHaveProperty([name]);
      for (const path of mountedFiles(service)) expect(existsSync(path), path).toBe(true);
      if (service.build !== undefined) expect(DOCKERFILES).toContain(service.build.dockerfile);
    }
  });

  it('Redis as compose.yaml starts it knows the users that the apps log in as', async () => {
    const { command = [], environment } = files.services['redis-1'] ?? expect.fail('no service redis-1');
    const acl = join(scratch, 'users.acl');
    const [line = ''] = /^sed .*$/m.exec(command.join('\n')) ?? [];
    const sed = line.replaceAll('$$', '$').replace('/etc/redis', 'deploy/redis').replace('/tmp/users.acl', acl);
    const { REDIS_PASSWORD = '' } = composeEnvironment({ environment });
    run('sh', ['-ec', sed], { env: { ...process.env, REDIS_PASSWORD } });
    const server = await startServer({ args: ['--aclfile', acl] });
    onTestFinished(() => server.stop());
    for (const app of APPS) {
      const env = composeEnvironment(files.services[app] ?? expect.fail(`no service ${app}`));
      const login = [env['SPANBUF_REDIS_USERNAME'] ?? '', env['SPANBUF_REDIS_PASSWORD'] ?? ''];
      expect(run('redis-cli', ['-e', '-p', `${server.port}`, 'AUTH', ...login])).toBe('OK\n');
    }
  });

  it.each([
    [`Kubernetes ${OLDEST_KUBERNETES}`, ['-k', OLDEST_KUBERNETES]] as const,
    ['the newest Kubernetes', []] as const,
  ])('the manifests are valid for %s', (_name, release) => {
    const paths = MANIFESTS.filter((path) => basename(path) !== 'kustomization.yaml');
    python('-m', 'kubernetes_validate', '--strict', '--quiet', ...release, ...paths);
  });

  it('kustomization.yaml lists every manifest, and names the images that they have', () => {
    const { resources, images: replaced } = files.kustomization;
    expect(['kustomization.yaml', ...resources].sort()).toEqual(MANIFESTS.map((path) => basename(path)));
    const used = APPS.map((app) => files.find('Deployment', `spanbuf-${app}`).spec.template.spec.containers[0].image);
    expect(used.map((image: string) => image.split(':')[0])).toEqual(replaced.map(({ name }: Json) => name));
  });

  it('metrics named in the manifests exist', () => {
    const named = MANIFESTS.flatMap((path) => read(join(ROOT, path)).match(/spanbuf_\w+/g) ?? []);
    const defined = APPS.map((app) => read(join(ROOT, 'apps', app, 'src', 'metrics.ts'))).join('\n');
    expect(named.length).toBeGreaterThan(0);
    for (const name of named) expect(defined).toContain(`'${name}'`);
  });

  it('the drop rules are mounted where the consumer looks for them', () => {
    const { containers, volumes } = files.find('Deployment', 'spanbuf-consumer').spec.template.spec;
    const path = podEnvironment(files, 'spanbuf-consumer')['SPANBUF_DROP_RULES_FILE'] ?? '';
    const mount = containers[0].volumeMounts.find(({ mountPath }: Json) => mountPath === dirname(path));
    const volume = volumes.find(({ name }: Json) => name === mount.name);
    expect(JSON.parse(files.find('ConfigMap', volume.configMap.name).data[basename(path)] ?? '')).toEqual({
      rules: [],
    });
    // A file mounted by itself never changes.
    expect(mount.subPath).toBeUndefined();
  });

  describe.each(APPS)('of the %s', (app) => {
    const deployment = () => files.find('Deployment', `spanbuf-${app}`).spec;
    const pod = () => deployment().template.spec;
    const service = () => files.services[app] ?? expect.fail(`no service ${app}`);

    it.each(['compose.yaml', 'the manifests'])('the app takes what %s set', (where) => {
      const env = where === 'compose.yaml' ? composeEnvironment(service()) : podEnvironment(files, `spanbuf-${app}`);
      expect(Object.keys(env).length).toBeGreaterThan(3);
      // It refuses unknown names, wrong values and contradictions.
      const shown = start(app, ['--print-config'], env);
      // Others are for OpenTelemetry.
      for (const [name, value] of Object.entries(env).filter(([name]) => name.startsWith('SPANBUF_'))) {
        expect(shown.split('\n')).toContain(`${name}=${name.endsWith('_PASSWORD') ? '******' : value}`);
      }
      const [, shutdownSeconds] = /^SPANBUF_SHUTDOWN_SECONDS=(\d+)$/m.exec(shown) ?? expect.fail('no grace period');
      const grace = where === 'compose.yaml' ? service().stop_grace_period : pod().terminationGracePeriodSeconds;
      expect(Number.parseInt(grace, 10)).toBeGreaterThan(Number(shutdownSeconds));
    });

    it('probes ask for what the app answers', () => {
      const [container] = pod().containers;
      const probes = ['startupProbe', 'livenessProbe', 'readinessProbe'].map((name) => container[name].httpGet);
      expect(probes.map(({ path }) => path)).toEqual(['/livez', '/livez', '/readyz']);
      expect(container.ports).toEqual(probes.slice(0, 1).map(({ port }) => ({ name: port, containerPort: 9464 })));
      const annotations = deployment().template.metadata.annotations;
      expect(annotations).toMatchObject({ 'prometheus.io/port': '9464', 'prometheus.io/path': '/metrics' });
    });

    it('the pod has no more rights than it needs, and no environment but its own', () => {
      const pods = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } };
      const alone = { enableServiceLinks: false, automountServiceAccountToken: false };
      expect(pod()).toMatchObject({ ...alone, securityContext: pods });
      expect(pod().containers[0].securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    });

    it('selectors find the pods, and the autoscaler the deployment', () => {
      const { labels } = deployment().template.metadata;
      const spreads = pod().topologySpreadConstraints.map(({ labelSelector }: Json) => labelSelector);
      const budget = files.find('PodDisruptionBudget', `spanbuf-${app}`).spec.selector;
      for (const { matchLabels } of [deployment().selector, budget, ...spreads])
        expect(labels).toMatchObject(matchLabels);
      expect(files.find('HorizontalPodAutoscaler', `spanbuf-${app}`).spec.scaleTargetRef.name).toBe(`spanbuf-${app}`);
    });
  });
});
