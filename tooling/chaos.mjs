/**
 * `npm run chaos [-- options]`: builds the apps, runs all of spanbuf on this machine and brings faults upon it; `--help`
 * lists the options. Ctrl-C stops all of it.
 */
import { runWithApps } from './run-with-apps.mjs';

await runWithApps('chaos/main.ts');
