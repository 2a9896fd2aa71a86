/**
 * How the tools of this folder read declarations. They bring a TypeScript with a compiler API, which the one that builds
 * the packages does not have; so they are given what it has built, and not the sources.
 */
import { join } from 'node:path';
import { ROOT } from '../toolchain.mjs';

export const COMPILER_OPTIONS = {
  target: 'es2023',
  lib: ['es2023'],
  types: ['node'],
  typeRoots: [join(ROOT, 'node_modules', '@types')],
  module: 'nodenext',
  moduleResolution: 'nodenext',
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
  noEmit: true,
} as const;
