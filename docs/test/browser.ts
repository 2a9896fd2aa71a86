/** The built site, as a person sees it: a static server under a base path, and Debian's Chromium. */
import { spawnSync } from 'node:child_process';
import { createReadStream, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css',
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** Serves a folder under a path, as any web server would: what is not there is 404. */
export async function serve(folder: string, base: string): Promise<{ origin: string; stop(): void }> {
  const server: Server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://localhost');
    const path = decodeURIComponent(pathname.endsWith('/') ? `${pathname}index.html` : pathname);
    const file = join(folder, path.slice(base.length));
    if (!path.startsWith(base) || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' });
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Path of the browser; undefined where there is none. */
export function findChromium(): string | undefined {
  const { status, stdout } = spawnSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

export async function openBrowser(executablePath: string): Promise<Browser> {
  // Without a sandbox, as root has none; it sees nothing but our own pages.
  return chromium.launch({ executablePath, args: ['--disable-gpu', '--disable-dev-shm-usage'] });
}

/** What a page showed of itself. */
export interface Visit {
  /** All of it, pixels. */
  readonly size: { readonly width: number; readonly height: number };
  /** Errors of the console and of scripts, requests that failed or went to another host. */
  readonly errors: readonly string[];
  /** By how many pixels it is wider than the window; what sticks out. */
  readonly overflow: { readonly pixels: number; readonly elements: readonly string[] };
  readonly brokenImages: readonly string[];
  readonly ids: readonly string[];
  /** Absolute. */
  readonly links: readonly string[];
}

/** Loads a page, and waits until it can be used. */
export async function open(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await page.waitForFunction(isAlive);
}

/** Of a picture, pixels. Some pages are four times as long, and as long take their pictures. */
const PICTURE_HEIGHT = 12_000;

/** Loads a page, and takes a picture of it. */
export async function visit(context: BrowserContext, url: string, picture: string): Promise<Visit> {
  const page = await context.newPage();
  try {
    const errors = watch(page, new URL(url).origin);
    await open(page, url);
    // Not the page's own idea of its window: a phone zooms out until what is too wide fits.
    const shown = await page.evaluate(inspect, page.viewportSize()?.width ?? 0);
    await page.screenshot({
      path: picture,
      fullPage: true,
      clip: { x: 0, y: 0, width: shown.size.width, height: Math.min(shown.size.height, PICTURE_HEIGHT) },
    });
    return { ...shown, errors };
  } finally {
    await page.close();
  }
}

function watch(page: Page, origin: string): string[] {
  const errors: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') errors.push(message.text());
  });
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('requestfailed', (request) => errors.push(`${request.url()}: ${request.failure()?.errorText}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !url.startsWith('data:')) errors.push(`asks another host: ${url}`);
  });
  return errors;
}

/** Runs in the page: whether its scripts have taken over what was built. */
function isAlive(): boolean {
  const { document } = globalThis as unknown as { document: DocumentOfPage };
  return [...document.querySelectorAll<AppOfPage>('#app')].some((app) => app.__vue_app__ !== undefined);
}

/** Runs in the page. */
async function inspect(windowWidth: number): Promise<Omit<Visit, 'errors'>> {
  const { document } = globalThis as unknown as { document: DocumentOfPage };
  const images = [...document.querySelectorAll<ImageOfPage>('img')];
  await Promise.all(images.map((image) => image.decode().catch(() => undefined)));
  const { scrollWidth: width, scrollHeight: height } = document.documentElement;
  const wide = [...document.querySelectorAll<ElementOfPage>('.vp-doc > div > *')].filter(
    (element) => element.getBoundingClientRect().right > windowWidth + 1,
  );
  return {
    size: { width, height },
    overflow: {
      pixels: Math.max(0, width - windowWidth),
      elements: wide.map((element) => element.outerHTML.slice(0, 200)),
    },
    brokenImages: images.filter(({ naturalWidth }) => naturalWidth === 0).map(({ src }) => src),
    ids: [...document.querySelectorAll<ElementOfPage>('[id]')].map(({ id }) => id),
    links: [...document.querySelectorAll<LinkOfPage>('a[href]')].map(({ href }) => href),
  };
}

/** What is used of the DOM; its types would let the rest of the repository believe in a browser. */
interface ElementOfPage {
  readonly id: string;
  readonly outerHTML: string;
  getBoundingClientRect(): { readonly right: number };
}
interface ImageOfPage extends ElementOfPage {
  readonly src: string;
  readonly naturalWidth: number;
  decode(): Promise<void>;
}
interface LinkOfPage extends ElementOfPage {
  readonly href: string;
}
interface AppOfPage extends ElementOfPage {
  readonly __vue_app__?: object;
}
interface DocumentOfPage {
  readonly documentElement: { readonly scrollWidth: number; readonly scrollHeight: number };
  querySelectorAll<E extends ElementOfPage>(selector: string): Iterable<E>;
}
