'use strict';

// usage: node record.js REDIS_URL OUTPUT_FILE
// Starts the two services, sends them load, and writes the spans in the order in which they were delivered.

const { fork } = require('node:child_process');
const { once } = require('node:events');
const { writeFileSync } = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { Redis } = require('ioredis');
const { check } = require('./check');
const load = require('./load');

async function startCollector(lines) {
  const server = http.createServer(async (req, res) => {
    const chunks = await req.toArray();
    // One step: the lines of a batch stay together, batches keep the order of arrival.
    lines.push(...Buffer.concat(chunks).toString('utf8').trimEnd().split('\n'));
    res.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function startService(name, env) {
  // Only these variables: OTEL_* settings of whoever records must not change the recording.
  const child = fork(path.join(__dirname, `${name}.js`), { env: { SERVICE_NAME: name, ...env } });
  const [message] = await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(([code]) => Promise.reject(new Error(`${name} ended at start (${code})`))),
  ]);
  return { child, url: `http://127.0.0.1:${message.port}` };
}

async function stopService({ child }) {
  const exit = once(child, 'exit');
  child.send('stop');
  const [{ spans }] = await once(child, 'message');
  const [code] = await exit;
  if (code !== 0 || spans.started !== spans.ended) {
    throw new Error(`exit code ${code}, ${spans.started} spans started, ${spans.ended} ended`);
  }
  return spans.ended;
}

async function record(redisUrl, output) {
  const redis = new Redis(redisUrl);
  await load.seed(redis);
  await redis.quit();

  const lines = [];
  const collector = await startCollector(lines);
  const env = { REDIS_URL: redisUrl, COLLECTOR_URL: `http://127.0.0.1:${collector.address().port}` };
  const inventory = await startService('inventory', { ...env, PROJECT_ID: '12', EXPORT_DELAY_MS: '120' });
  const shop = await startService('shop', {
    ...env,
    PROJECT_ID: '11',
    EXPORT_DELAY_MS: '80',
    INVENTORY_URL: inventory.url,
  });

  const statuses = await load.run(shop.url, inventory.url);
  // Time for the work that no request waits for.
  await sleep(3_000);
  const ended = (await stopService(shop)) + (await stopService(inventory));
  collector.close();
  collector.closeAllConnections();

  const counts = check(lines, ended);
  writeFileSync(output, `${lines.join('\n')}\n`);
  console.log('responses', statuses);
  console.log('recorded', counts);
}

const [redisUrl, output] = process.argv.slice(2);
if (redisUrl === undefined || output === undefined) {
  console.error('usage: node record.js REDIS_URL OUTPUT_FILE');
  process.exit(2);
}
record(redisUrl, output).catch((error) => {
  console.error(error);
  // The services notice that they are alone and end.
  process.exit(1);
});
