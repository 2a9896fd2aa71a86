/**
 * `npm run stack [-- options]`: builds the apps and runs all of spanbuf on this machine; `--help` lists the options. Ctrl-C
 * stops all of it.
 */
import { runWithApps } from './run-with-apps.mjs';

await runWithApps('stack/main.ts');
