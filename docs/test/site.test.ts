/** Builds the site, under a base path, and looks at every page of it in Chromium. Pictures are left in docs/build/look. */
import { execFile } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allPages, DOCS, sitePath } from '../.vitepress/pages.ts';
import { findChromium, open, openBrowser, serve, type Visit, visit } from './browser.ts';

const BASE = '/some/where/';
const SOURCE_URL = 'https://source.invalid/blob/main';
const WINDOWS = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } } as const;
const HTML = allPages().map((page) => sitePath(page).replace(/\.md$/, '.html'));
const PICTURES = join(DOCS, 'build', 'look');

const scratch = mkdtempSync(join(tmpdir(), 'spanbuf-site-'));
const site = join(scratch, 'site');

beforeAll(async () => {
  const vitepress = join(DOCS, 'node_modules', '.bin', 'vitepress');
  // vitest's NODE_ENV would make it a site for development.
  const env = { ...process.env, NODE_ENV: 'production', DOCS_SOURCE_URL: SOURCE_URL };
  await promisify(execFile)(vitepress, ['build', DOCS, '--base', BASE, '--outDir', site], { env });
}, 300_000);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('the built site', () => {
  it('has a page for each Markdown file', () => {
    expect(globSync('**/*.html', { cwd: site }).sort()).toEqual([...HTML, '404.html'].sort());
  });

  it('links files of the repository where they can be read', () => {
    expect(readFileSync(join(site, 'architecture.html'), 'utf8')).toContain(
      `href="${SOURCE_URL}/packages/store/lua/trace.lua"`,
    );
  });
});

const executable = findChromium();
if (executable === undefined && process.env['CI'])
  throw new Error('There is no chromium on PATH. On Debian: apt-get install chromium');

describe.skipIf(executable === undefined)('in a browser', () => {
  let browser: Browser;
  let served: Awaited<ReturnType<typeof serve>>;
  const addressOf = (html: string) => `${served.origin}${BASE}${html}`;
  const visits = new Map<string, Visit>();

  beforeAll(async () => {
    served = await serve(site, BASE);
    browser = await openBrowser(executable ?? '');
    for (const [name, viewport] of Object.entries(WINDOWS)) {
      const context = await browser.newContext({ viewport, isMobile: name === 'phone', hasTouch: name === 'phone' });
      mkdirSync(join(PICTURES, name), { recursive: true });
      for (const html of HTML) {
        const picture = join(PICTURES, name, `${html.replace(/\.html$/, '').replaceAll('/', '-')}.png`);
        visits.set(`${name} ${html}`, await visit(context, addressOf(html), picture));
      }
      await context.close();
    }
  }, 1_200_000);
  afterAll(async () => {
    await browser?.close();
    served?.stop();
  });

  const seen = (name: string, html: string) => visits.get(`${name} ${html}`) ?? expect.fail(`${html} was not visited`);

  describe.each(Object.keys(WINDOWS))('on a %s', (name) => {
    it.each(HTML)('%s fits, shows its pictures, and asks nobody else', (html) => {
      const { errors, overflow, brokenImages } = seen(name, html);
      expect({ errors, overflow, brokenImages }).toEqual({
        errors: [],
        overflow: { pixels: 0, elements: [] },
        brokenImages: [],
      });
    });
  });

  it.each(HTML)('%s links pages and headings that are there', (html) => {
    const dead = seen('desktop', html).links.filter((link) => {
      const { origin, pathname, hash } = new URL(link);
      if (origin !== served.origin) return false;
      const target = pathname.slice(BASE.length).replace(/(^|\/)$/, '$1index.html');
      const there = visits.get(`desktop ${target}`);
      const id = decodeURIComponent(hash.slice(1));
      return !pathname.startsWith(BASE) || there === undefined || (id !== '' && !there.ids.includes(id));
    });
    expect(dead).toEqual([]);
  });

  it('would see a page that is too wide, or broken, or asks another host', async () => {
    const folder = join(scratch, 'planted');
    mkdirSync(folder);
    writeFileSync(
      join(folder, 'page.html'),
      `<meta name="viewport" content="width=device-width"><div id="app" class="vp-doc"><div><p style="width: 900px">wide</p></div></div>
      <img src="gone.png"><img src="http://elsewhere.invalid/x.png"><script>app.__vue_app__ = {}; throw new Error('planted')</script>`,
    );
    const planted = await serve(folder, '/');
    const context = await browser.newContext({ viewport: WINDOWS.phone, isMobile: true });
    const found = await visit(context, `${planted.origin}/page.html`, join(scratch, 'planted.png'));
    await context.close();
    planted.stop();
    expect(found.overflow.pixels).toBeGreaterThan(0);
    expect(found.overflow.elements).toHaveLength(1);
    expect(found.brokenImages).toHaveLength(2);
    for (const error of ['404', 'planted', 'asks another host'])
      expect(found.errors).toContainEqual(expect.stringContaining(error));
  });

  it('finds pages by their words', async () => {
    const page = await browser.newPage({ viewport: WINDOWS.desktop });
    await open(page, addressOf('index.html'));
    await page.getByRole('button', { name: 'Search' }).click();
    await page.locator('.VPLocalSearchBox input').fill('noeviction');
    await page.locator('.VPLocalSearchBox .result').first().waitFor();
    expect(await page.locator('.VPLocalSearchBox .results').textContent()).toContain('Deploying');
    await page.close();
  }, 60_000);

  it('shows the list of pages on a phone when it is asked to', async () => {
    const page = await browser.newPage({ viewport: WINDOWS.phone });
    await open(page, addressOf('concepts.html'));
    const link = page.locator('.VPSidebar a', { hasText: 'Quick start' });
    expect((await link.boundingBox())?.x).toBeLessThan(0);
    await page.getByRole('button', { name: 'Menu' }).click();
    await expect.poll(async () => (await link.boundingBox())?.x).toBeGreaterThan(0);
    await link.click();
    await page.waitForURL('**/quick-start.html');
    await page.close();
  }, 60_000);
});
