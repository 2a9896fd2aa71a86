/** Which pages the site has, where in its sidebar they stand, and what they are called there. */
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { DefaultTheme } from 'vitepress';

/** The folder of the pages. */
export const DOCS = dirname(import.meta.dirname);

interface Group {
  readonly text: string;
  /** Paths inside `docs`, in the order in which they are read. */
  readonly pages?: readonly string[];
  /** A folder, all pages of which follow, by name. It may be absent: `api` is made, not kept. */
  readonly folder?: string;
}

/** Every page is in one of them; a test sees to it. */
export const GROUPS: readonly Group[] = [
  { text: 'Begin', pages: ['index.md', 'quick-start.md', 'concepts.md', 'faq.md', 'glossary.md'] },
  { text: 'Build on it', pages: ['embed.md', 'output.md', 'versioning.md', 'upgrading.md'] },
  { text: 'Run it', pages: ['services.md', 'deploy.md', 'sizing.md', 'size.md', 'doctor.md', 'rollout.md'] },
  { text: 'See inside', pages: ['inspect.md', 'monitoring.md', 'tracing.md', 'audit.md'] },
  { text: 'Runbooks', folder: 'runbooks' },
  { text: 'Settings and metrics', folder: 'reference' },
  { text: 'What holds', pages: ['guarantees.md', 'performance.md'], folder: 'reports' },
  { text: 'How it works', pages: ['architecture.md'] },
  { text: 'Decisions', folder: 'decisions' },
  { text: 'API', folder: 'api' },
];

/** Groups as long as these are folded until one of their pages is open. */
const LONG = 6;

/** Every page of the site, as a path inside `docs`, by name; the page of a folder before the others in it. */
export function allPages(under = ''): string[] {
  const pattern = join(under, '**/*.md');
  const isOutside = (path: string) => basename(path) === 'node_modules' || path === join(under, 'test');
  return globSync(pattern, { cwd: DOCS, exclude: isOutside })
    .map((path) => path.replaceAll('\\', '/'))
    .sort((a, b) => (linkTo(a) < linkTo(b) ? -1 : 1));
}

/** Pages of a group, those that it names first. */
export function pagesOf({ pages = [], folder }: Group): string[] {
  return [...pages, ...(folder === undefined ? [] : allPages(folder))];
}

/** In the repository a folder's page is README.md, on the site index.md. */
export function sitePath(page: string): string {
  return page.replace(/(^|\/)README\.md$/, '$1index.md');
}

export function sidebar(): DefaultTheme.SidebarItem[] {
  return GROUPS.map((group) => ({ text: group.text, pages: pagesOf(group) }))
    .filter(({ pages }) => pages.length > 0)
    .map(({ text, pages }) => ({
      text,
      ...(pages.length > LONG && { collapsed: true }),
      items: pages.map((page) => ({ text: titleOf(page), link: linkTo(page) })),
    }));
}

/** `/`, `/deploy`, `/decisions/`. */
export function linkTo(page: string): string {
  return `/${sitePath(page)
    .replace(/\.md$/, '')
    .replace(/(^|\/)index$/, '$1')}`;
}

/** A page's heading without its markup. */
export function titleOf(page: string): string {
  const heading = /^# (.+)$/m.exec(readFileSync(join(DOCS, page), 'utf8'))?.[1];
  if (heading === undefined) throw new Error(`docs/${page} has no heading: a page begins with "# " and its title.`);
  return heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll(/[`*\\]/g, '');
}
