import { join } from 'node:path';
import { defineConfig } from 'vitepress';
import { repositoryLinks, slug } from './links.ts';
import { DOCS, sidebar, sitePath } from './pages.ts';

/** Where the files of the repository can be read; what it holds stands before their paths. */
const sourceUrl = process.env['DOCS_SOURCE_URL'] || undefined;

export default defineConfig({
  lang: 'en',
  title: 'spanbuf',
  description: 'Assembles the spans of distributed traces into segments, in Redis, and loses none.',
  srcExclude: ['test/**'],
  rewrites: sitePath,
  outDir: 'dist',
  cacheDir: join(DOCS, 'node_modules', '.cache', 'vitepress'),
  transformHead: ({ siteData }) => [['link', { rel: 'icon', type: 'image/svg+xml', href: `${siteData.base}icon.svg` }]],
  // Generated tables of four columns and more: the width is worth more than the list of headings.
  transformPageData: ({ relativePath, frontmatter }) => {
    if (/^(?:reference|reports)\//.test(relativePath)) Object.assign(frontmatter, { aside: false, pageClass: 'wide' });
  },
  markdown: {
    anchor: { slugify: slug },
    config: (md) => repositoryLinks(md, sourceUrl),
  },
  // The index of all words, which is loaded when somebody searches, is as large as it is.
  vite: { build: { chunkSizeWarningLimit: 4_000 } },
  themeConfig: {
    nav: [
      { text: 'Quick start', link: '/quick-start' },
      { text: 'Concepts', link: '/concepts' },
      { text: 'Deploying', link: '/deploy' },
      { text: 'Embedding', link: '/embed' },
    ],
    sidebar: sidebar(),
    outline: [2, 3],
    search: { provider: 'local' },
  },
});
