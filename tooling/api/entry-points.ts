/** What the published packages offer to import: the entry points whose surface is reported and documented. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, workspaceFolders } from '../toolchain.mjs';

export interface EntryPoint {
  /** As it is imported: `@spanbuf/store/testing`. */
  readonly name: string;
  /** `packages/store` */
  readonly folder: string;
  /** Below the package, with dashes: `testing-controlled`; `index` for the package itself. */
  readonly slug: string;
  /** Its built declarations, absolute. */
  readonly declarations: string;
  /** Where its report is checked in, relative to the root. */
  readonly report: string;
}

interface Manifest {
  readonly name: string;
  readonly private?: boolean;
  readonly exports?: Readonly<Record<string, string | { readonly types?: string }>>;
}

/** In the order of the workspace. Apps have none: their surface is their settings, metrics and commands. */
export function entryPoints(): EntryPoint[] {
  return workspaceFolders().flatMap((folder) => {
    const manifest: Manifest = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
    if (manifest.private === true) return [];
    return Object.entries(manifest.exports ?? {}).flatMap(([subpath, target]) => {
      const types = typeof target === 'string' ? undefined : target.types;
      if (types === undefined) return [];
      const slug = subpath === '.' ? 'index' : subpath.slice(2).replaceAll('/', '-');
      return {
        name: manifest.name + subpath.slice(1),
        folder,
        slug,
        declarations: join(ROOT, folder, types),
        report: `${folder}/api/${slug}.api.md`,
      };
    });
  });
}
