/** The public packages as they would be published, and projects outside of the workspace that have them installed. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, run, withPnpm, workspaceFolders } from './toolchain.mjs';

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description?: string;
  readonly private?: boolean;
  readonly bin?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

export interface PublicPackage {
  readonly name: string;
  /** Relative to the root. */
  readonly folder: string;
  readonly manifest: Manifest;
}

export const readManifest = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

export const PUBLIC_PACKAGES: readonly PublicPackage[] = workspaceFolders()
  .map((folder) => ({ folder, manifest: readManifest(join(ROOT, folder)) }))
  .filter(({ manifest }) => manifest.private !== true)
  .map(({ folder, manifest }) => ({ folder, manifest, name: manifest.name }));

/** The workspace's settings for pnpm, its NODE_PATH and those of a test runner mean nothing in another project. */
export function outsideEnvironment(): NodeJS.ProcessEnv {
  const all = { ...process.env, DO_NOT_TRACK: '1', TURBO_TELEMETRY_DISABLED: '1' };
  const ofWorkspace = /^(?:NODE_PATH|NODE_OPTIONS|VITEST.*|npm_(?:package|lifecycle)_.*)$/;
  return Object.fromEntries(Object.entries(all).filter(([name]) => !ofWorkspace.test(name)));
}

/** Tarballs of all public packages. */
export class PackedPackages {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Builds and packs. @param folder - Made if it is not there. */
  static pack(folder: string): PackedPackages {
    const env = outsideEnvironment();
    withPnpm(['turbo', 'run', 'build', '--output-logs=errors-only'], { env });
    mkdirSync(folder, { recursive: true });
    for (const { folder: cwd } of PUBLIC_PACKAGES) {
      withPnpm(['pnpm', 'pack', `--pack-destination=${folder}`], { env, cwd: join(ROOT, cwd) });
    }
    return new PackedPackages(folder);
  }

  tarball({ name, version }: Manifest): string {
    return join(this.#folder, `${name.slice(1).replace('/', '-')}-${version}.tgz`);
  }

  /**
   * Copies a project and installs what it wants with npm: packages of the workspace from their tarballs, others in the
   * versions that the workspace uses, where it does.
   * @param also - Packages of the workspace to install beside what the project's manifest names.
   */
  install(source: string, target: string, also: readonly string[] = []): void {
    cpSync(source, target, { recursive: true });
    const project = readManifest(target);
    const files = Object.fromEntries(
      PUBLIC_PACKAGES.map(({ name, manifest }) => [name, `file:${this.tarball(manifest)}`]),
    );
    const versions: Readonly<Record<string, string>> = {
      ...readManifest(ROOT).devDependencies,
      ...readManifest(join(ROOT, 'packages/store')).devDependencies,
      ...files,
    };
    const wanted = {
      ...project.devDependencies,
      ...project.dependencies,
      ...Object.fromEntries(also.map((n) => [n, '*'])),
    };
    const dependencies = Object.fromEntries(
      Object.entries(wanted).map(([name, range]) => [name, versions[name] ?? range]),
    );
    // What the packages want of each other comes from the tarballs too, never from a registry.
    const overrides = Object.fromEntries(
      Object.entries(files).map(([name, file]) => [name, name in dependencies ? `$${name}` : file]),
    );
    const manifest = { ...project, dependencies, devDependencies: {}, overrides };
    writeFileSync(join(target, 'package.json'), JSON.stringify(manifest));
    const options = ['--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts'];
    run('npm', ['install', ...options], { env: outsideEnvironment(), cwd: target });
  }
}
