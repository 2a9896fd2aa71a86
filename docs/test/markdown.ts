/** What the pages, and the other Markdown files of the repository, say and link. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { createMarkdownRenderer, type MarkdownRenderer } from 'vitepress';
import { isElsewhere, slug, targetOf } from '../.vitepress/links.ts';
import { DOCS } from '../.vitepress/pages.ts';

export const ROOT = join(DOCS, '..');

/** Paths of what Git tracks or would, in the repository. */
export function repositoryFiles(pattern: string): string[] {
  const args = ['ls-files', '--cached', '--others', '--exclude-standard', '-z', '--', pattern];
  const files = execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).split('\0');
  return files.filter((path) => path !== '' && existsSync(join(ROOT, path)));
}

interface Read {
  readonly links: readonly string[];
  /** Ids of its headings. */
  readonly anchors: ReadonlySet<string>;
}

/** Reads files as the site does, each once. */
export class MarkdownReader {
  readonly #renderer: MarkdownRenderer;
  readonly #read = new Map<string, Read>();

  private constructor(renderer: MarkdownRenderer) {
    this.#renderer = renderer;
  }

  static async open(): Promise<MarkdownReader> {
    return new MarkdownReader(await createMarkdownRenderer(DOCS, { anchor: { slugify: slug } }));
  }

  /** @param file - Absolute path. */
  read(file: string): Read {
    const known = this.#read.get(file);
    if (known !== undefined) return known;
    const links: string[] = [];
    const anchors = new Set<string>();
    for (const token of this.#tokens(file)) {
      if (token.type === 'heading_open') anchors.add(token.attrGet('id') ?? '');
      for (const child of token.children ?? []) {
        if (child.type === 'link_open') links.push(child.attrGet('href') ?? '');
        if (child.type === 'image') links.push(child.attrGet('src') ?? '');
      }
    }
    const read = { links, anchors };
    this.#read.set(file, read);
    return read;
  }

  #tokens(file: string) {
    return this.#renderer.parse(readFileSync(file, 'utf8'), { path: file, relativePath: relative(DOCS, file) });
  }

  /** Links of a file that lead nowhere, each with what is missing. Links to other hosts are not followed. */
  deadLinks(file: string): string[] {
    return this.read(file).links.flatMap((href) => {
      const [path = '', anchor] = href.split('#');
      if (path !== '' && isElsewhere(href)) return [];
      const target = path === '' ? file : join(ROOT, pathOf(targetOf(file, path)));
      if (!existsSync(target)) return [`${href}: there is no ${relative(ROOT, target)}`];
      if (anchor === undefined || !target.endsWith('.md')) return [];
      return this.read(target).anchors.has(decodeURIComponent(anchor))
        ? []
        : [`${href}: ${relative(ROOT, target)} has no heading with that anchor`];
    });
  }
}

function pathOf(target: ReturnType<typeof targetOf>): string {
  return 'page' in target ? `docs/${target.page}` : target.source;
}
