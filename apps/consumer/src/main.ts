#!/usr/bin/env node
/** The only file that touches the process. */
import { processHost, runApp } from '@spanbuf/service';
import { consumerApp } from './app.ts';

await runApp(consumerApp, processHost(process));
