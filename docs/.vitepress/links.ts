/** Makes links that are right in the repository right on the site. */
import { existsSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import type { MarkdownRenderer } from 'vitepress';
import { DOCS, sitePath } from './pages.ts';

type Token = ReturnType<MarkdownRenderer['parse']>[number];

/** The id of a heading, the same as repositories give it, so that an anchor works in both. */
export function slug(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{M}\p{N}\s_-]/gu, '')
    .replaceAll(/\s/g, '-');
}

/** Where a link goes: path of the page inside `docs`, or of anything else inside the repository. */
export type Target = { readonly page: string } | { readonly source: string };

/**
 * @param from - Absolute path of the file that has the link.
 * @param path - What is linked, without an anchor, relative to it.
 */
export function targetOf(from: string, path: string): Target {
  const file = join(dirname(from), decodeURIComponent(path));
  const inDocs = relative(DOCS, file).split(sep).join('/');
  if (!inDocs.startsWith('../')) {
    if (inDocs.endsWith('.md')) return { page: inDocs };
    for (const page of [posix.join(inDocs, 'README.md'), posix.join(inDocs, 'index.md')])
      if (existsSync(join(DOCS, page))) return { page };
  }
  return { source: relative(dirname(DOCS), file).split(sep).join('/') };
}

/** Whether it leads to another host, or to a place on the same page. */
export function isElsewhere(href: string): boolean {
  return /^(?:[a-z][a-z0-9+.-]*:|\/\/|#)/i.test(href);
}

/**
 * Links to pages go to where they are on the site. Those to other files of the repository go to `sourceUrl`; without one
 * the text stays, without a link.
 */
export function repositoryLinks(md: MarkdownRenderer, sourceUrl: string | undefined): void {
  md.core.ruler.push('repository-links', ({ tokens, env }: { tokens: Token[]; env: { path: string } }) => {
    for (const token of tokens) {
      if (token.children) token.children = token.children.filter(keepWithLink(env.path, sourceUrl));
    }
  });
}

function keepWithLink(from: string, sourceUrl: string | undefined): (token: Token) => boolean {
  let isInDropped = false;
  return (token) => {
    if (token.type === 'link_close' && isInDropped) {
      isInDropped = false;
      return false;
    }
    const href = token.type === 'link_open' ? token.attrGet('href') : null;
    if (href === null || isElsewhere(href)) return true;
    const [path = '', anchor] = href.split('#');
    const target = targetOf(from, path);
    if ('source' in target && sourceUrl === undefined) {
      isInDropped = true;
      return false;
    }
    const there =
      'page' in target
        ? relative(dirname(from), join(DOCS, sitePath(target.page)))
        : `${sourceUrl?.replace(/\/$/, '')}/${target.source}`;
    token.attrSet('href', anchor === undefined ? there : `${there}#${anchor}`);
    return true;
  };
}
