/** compose.yaml and the manifests of deploy/kubernetes as data. */
import { execFileSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ROOT } from '../toolchain.mjs';

export const DOCKERFILES = globSync('apps/*/Dockerfile', { cwd: ROOT }).sort();
export const MANIFESTS = globSync('deploy/kubernetes/*.yaml', { cwd: ROOT }).sort();

/** What a file of someone else's format holds: its checker has looked at its shape. */
export type Json = ReturnType<typeof JSON.parse>;

export interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data: Readonly<Record<string, string>>;
  readonly spec: Json;
}

export interface ComposeService {
  readonly depends_on?: Readonly<Record<string, unknown>>;
  readonly command?: readonly string[];
  readonly volumes?: readonly string[];
  readonly build?: { readonly dockerfile: string };
  readonly environment: Readonly<Record<string, string | number>>;
  readonly stop_grace_period: string;
}

export interface DeployFiles {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly kustomization: Json;
  readonly manifests: readonly Manifest[];
  /** @throws Error when there is none or more than one. */
  find(kind: string, name: string): Manifest;
}

/** @param python - One that has PyYAML. */
export function readDeployFiles(python: string): DeployFiles {
  const program =
    'import sys, json, yaml; print(json.dumps([list(yaml.safe_load_all(open(f))) for f in sys.argv[1:]]))';
  const output = execFileSync(python, ['-c', program, 'compose.yaml', ...MANIFESTS], { cwd: ROOT, encoding: 'utf8' });
  const [[compose] = [], ...files]: Json[][] = JSON.parse(output);
  const isKustomization = (_: unknown, index: number) => basename(MANIFESTS[index] ?? '') === 'kustomization.yaml';
  const manifests: Manifest[] = files.filter((_, index) => !isKustomization(_, index)).flat();
  return {
    services: compose.services,
    kustomization: files.find(isKustomization)?.[0],
    manifests,
    find: (kind, name) => {
      const [found, ...more] = manifests.filter((each) => each.kind === kind && each.metadata.name === name);
      if (found === undefined || more.length > 0)
        throw new Error(`${kind} ${name}: ${more.length === 0 ? 'none' : 'two'}`);
      return found;
    },
  };
}

/** The environment of a service, with the defaults of `${NAME:-default}`. */
export function composeEnvironment({ environment }: Pick<ComposeService, 'environment'>): Record<string, string> {
  const entries = Object.entries(environment);
  return Object.fromEntries(entries.map(([name, value]) => [name, `${value}`.replace(/\$\{\w+:-([^}]*)\}/g, '$1')]));
}

/** The environment of a deployment's first container; a secret's value is the name of its key. */
export function podEnvironment(files: DeployFiles, deployment: string): Record<string, string> {
  const [{ envFrom, env }] = files.find('Deployment', deployment).spec.template.spec.containers;
  return Object.assign(
    {},
    ...envFrom.map((from: Json) => files.find('ConfigMap', from.configMapRef.name).data),
    ...env.map((each: Json) => ({ [each.name]: each.valueFrom.secretKeyRef.key })),
  );
}

/** Folder of the workspace's files that a service mounts. */
export function mountedFiles({ volumes = [] }: ComposeService): string[] {
  return volumes.map((volume) => join(ROOT, volume.split(':')[0] ?? ''));
}
