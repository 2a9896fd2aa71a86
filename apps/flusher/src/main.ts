#!/usr/bin/env node
/** The only file that touches the process. */
import { processHost, runApp } from '@spanbuf/service';
import { flusherApp } from './app.ts';

await runApp(flusherApp, processHost(process));
