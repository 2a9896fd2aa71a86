/** The pages as files: where they are in the sidebar, and whether what they link is there. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { allPages, DOCS, GROUPS, linkTo, pagesOf, sidebar, titleOf } from '../.vitepress/pages.ts';
import { MarkdownReader, ROOT, repositoryFiles } from './markdown.ts';

describe('the sidebar', () => {
  const listed = GROUPS.flatMap(pagesOf);

  it('has every page of docs: add a new one to a group in docs/.vitepress/pages.ts', () => {
    expect(allPages().filter((page) => !listed.includes(page))).toEqual([]);
  });

  it('names no page that does not exist', () => {
    expect(listed.filter((page) => !existsSync(join(DOCS, page)))).toEqual([]);
  });

  it('has each page once', () => {
    expect(listed.filter((page, i) => listed.indexOf(page) !== i)).toEqual([]);
  });

  it('calls pages by their headings, each in another way', () => {
    const titles = sidebar().flatMap(({ items = [] }) => items.map(({ text }) => text));
    expect(titles).toHaveLength(listed.length);
    expect(titles.filter((title, i) => titles.indexOf(title) !== i)).toEqual([]);
  });

  it('has no empty group', () => {
    for (const { text, items } of sidebar()) expect(items, text).not.toEqual([]);
  });
});

it('a folder is called by its page', () => {
  expect(linkTo('index.md')).toBe('/');
  expect(linkTo('decisions/README.md')).toBe('/decisions/');
  expect(linkTo('reference/consumer.md')).toBe('/reference/consumer');
  expect(titleOf('decisions/README.md')).toBe('Decisions');
});

describe('the page of a folder', () => {
  let reader: MarkdownReader;
  beforeAll(async () => {
    reader = await MarkdownReader.open();
  });

  it.each(allPages().filter((page) => page.endsWith('/README.md')))('%s links every page in it', (index) => {
    const folder = index.slice(0, -'/README.md'.length);
    const { links } = reader.read(join(DOCS, index));
    const others = allPages(folder).filter((page) => page !== index);
    expect(others.filter((page) => !links.includes(page.slice(folder.length + 1)))).toEqual([]);
  });
});

describe('a Markdown file of the repository', () => {
  let reader: MarkdownReader;
  beforeAll(async () => {
    reader = await MarkdownReader.open();
  });

  it.each(repositoryFiles('*.md'))('%s links nothing that is not there', (file) => {
    expect(reader.deadLinks(join(ROOT, file))).toEqual([]);
  });

  it('is searched for links to files, folders, pages, pictures and headings', () => {
    const folder = mkdtempSync(join(tmpdir(), 'spanbuf-links-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'a.md');
    writeFileSync(join(folder, 'b.md'), '# `B` and more\n\n## Twice\n\n## Twice\n');
    const good = ['[b](b.md)', '[t](b.md#twice-1)', '[b](b.md#b-and-more)', '[self](#a)', '[f](.)'];
    writeFileSync(file, `# A\n\n${good.join('\n')}\n[elsewhere](https://host.invalid/x#y)\n`);
    expect(reader.deadLinks(file)).toEqual([]);

    const bad = join(folder, 'bad.md');
    writeFileSync(
      bad,
      '[1](c.md) ![2](c.svg) [3](b.md#thrice)\n\n| t |\n|---|\n| [4](#a) |\n\n[5][ref]\n\n[ref]: gone/\n',
    );
    expect(reader.deadLinks(bad)).toHaveLength(5);
  });
});
