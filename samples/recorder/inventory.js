'use strict';

const { inSpan } = require('./tracing');
const { ROOT_CONTEXT, SpanKind, context, propagation } = require('@opentelemetry/api');
const express = require('express');
const { Redis } = require('ioredis');
const { setTimeout: sleep } = require('node:timers/promises');
const { HttpError, errorHandler, serve } = require('./service');

const { REDIS_URL } = process.env;
const redis = new Redis(REDIS_URL);
// BRPOP holds its connection while it waits.
const queue = new Redis(REDIS_URL);

const REPORT_DAYS = 12;
const REPORT_DAY_MS = 200;
const SWEEP_EVERY_MS = 4_000;
const LOW_STOCK = 10;

let reservations = 0;
let stopping = false;

const app = express();

app.get('/healthz', async (_req, res) => res.json({ redis: await redis.ping() }));

app.use(express.json());

app.get('/stock', async (req, res) => {
  const ids = req.query.ids.split(',');
  const counts = await redis.hmget('stock', ids);
  res.json(Object.fromEntries(ids.map((id, i) => [id, Number(counts[i])])));
});

app.get('/stock/:id', async (req, res) => {
  const count = await redis.hget('stock', req.params.id);
  if (count === null) {
    throw new HttpError(404, `no stock of ${req.params.id}`);
  }
  res.json({ available: Number(count) });
});

app.post('/reservations', async (req, res) => {
  const { productId, quantity } = req.body;
  reservations += 1;
  if (reservations % 7 === 0) {
    throw new HttpError(503, 'stock is being counted');
  }
  const left = await redis.hincrby('stock', productId, -quantity);
  if (left < 0) {
    await redis.hincrby('stock', productId, quantity);
    throw new HttpError(409, `sold out: ${productId}`);
  }
  res.status(201).json({ left });
});

/** Slower than the shop is willing to wait. */
app.get('/reports/sales', async (_req, res) => {
  const days = [];
  for (let day = 1; day <= REPORT_DAYS; day += 1) {
    days.push(
      await inSpan('report.day', { attributes: { 'report.day': day } }, async () => {
        await sleep(REPORT_DAY_MS);
        return redis.hgetall(`sold:${day}`);
      }),
    );
  }
  res.json(days);
});

app.use(errorHandler);

/** Ships one order in the trace of the request that placed it. */
function ship({ id, lines, carrier }) {
  const attributes = { 'messaging.system': 'redis', 'messaging.destination.name': 'orders', 'order.id': id };
  return context.with(propagation.extract(ROOT_CONTEXT, carrier), () =>
    inSpan('process orders', { kind: SpanKind.CONSUMER, attributes }, async () => {
      for (const [productId, quantity] of lines) {
        await inSpan('warehouse.pick', { attributes: { 'product.id': productId } }, async () => {
          await sleep(20);
          await redis.hincrby(`sold:${1 + (reservations % REPORT_DAYS)}`, productId, quantity);
        });
      }
      await redis.hset(`order:${id}`, 'state', 'shipped');
    }),
  );
}

async function work() {
  for (;;) {
    const entry = await queue.brpop('orders', 1);
    if (entry !== null) {
      await ship(JSON.parse(entry[1]));
    } else if (stopping) {
      return;
    }
  }
}

/** A scheduled job: a trace whose root is no request. */
function sweep() {
  return inSpan('restock.sweep', { root: true, attributes: { 'job.threshold': LOW_STOCK } }, async (span) => {
    const stock = await redis.hgetall('stock');
    const low = Object.keys(stock).filter((id) => Number(stock[id]) < LOW_STOCK);
    span.setAttribute('job.low_stock', low);
    await Promise.all(low.map((id) => redis.hincrby('stock', id, 2 * LOW_STOCK)));
  });
}

const worker = work();
const timer = setInterval(sweep, SWEEP_EVERY_MS);

serve(app, {
  beforeExit: async () => {
    stopping = true;
    clearInterval(timer);
    await worker;
    await Promise.all([queue.quit(), redis.quit()]);
  },
});
