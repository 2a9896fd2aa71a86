'use strict';

const { inSpan } = require('./tracing');
const { SpanKind, context, propagation, trace } = require('@opentelemetry/api');
const express = require('express');
const { Redis } = require('ioredis');
const { setTimeout: sleep } = require('node:timers/promises');
const { HttpError, errorHandler, serve } = require('./service');

const { REDIS_URL, INVENTORY_URL } = process.env;
const redis = new Redis(REDIS_URL);

const PAGE_SIZE = 8;
const REPORT_TIMEOUT_MS = 1_500;

async function inventory(path, init) {
  const response = await fetch(`${INVENTORY_URL}${path}`, init);
  const body = await response.json();
  if (!response.ok) {
    throw new HttpError(response.status, body.error);
  }
  return body;
}

async function loadProduct(id) {
  return inSpan('catalog.load', { attributes: { 'product.id': id } }, async (span) => {
    const json = await redis.get(`product:${id}`);
    if (json === null) {
      throw new HttpError(404, `no product ${id}`);
    }
    const product = JSON.parse(json);
    span.setAttributes({ 'product.name': product.name, 'product.tags': product.tags });
    return product;
  });
}

/** Prices are computed once and then cached. */
async function priceOf(product) {
  return inSpan('pricing.quote', { attributes: { 'product.id': product.id } }, async (span) => {
    const cached = await redis.get(`price:${product.id}`);
    span.setAttribute('cache.hit', cached !== null);
    if (cached !== null) {
      return Number(cached);
    }
    const discount = Number(await redis.hget('discounts', product.category));
    const price = Math.round(product.listPrice * (1 - discount) * 100) / 100;
    span.setAttributes({ 'price.discount': discount, 'price.amount': price });
    await redis.set(`price:${product.id}`, price, 'EX', 5);
    return price;
  });
}

/** Walks the "also bought" graph one product at a time, each step inside the one before it. */
async function recommend(id, depth, seen = new Set([id])) {
  const options = { attributes: { 'product.id': id, 'recommend.depth_left': depth } };
  return inSpan('recommend.walk', options, async (span) => {
    const neighbours = await redis.smembers(`also-bought:${id}`);
    const next = neighbours.find((neighbour) => !seen.has(neighbour));
    span.setAttribute('recommend.neighbours', neighbours);
    if (depth <= 1 || next === undefined) {
      return [...seen];
    }
    return recommend(next, depth - 1, seen.add(next));
  });
}

/** A payment provider that takes its time, and longer for large amounts. */
async function pay(user, amount) {
  const options = { kind: SpanKind.INTERNAL, attributes: { 'user.id': user, 'payment.amount': amount } };
  return inSpan('payment.authorize', options, async (span) => {
    await inSpan('payment.risk_check', {}, () => sleep(5 + (amount % 10)));
    const large = amount > 250;
    span.setAttribute('payment.manual_review', large);
    await inSpan('payment.provider_call', { attributes: { 'payment.large': large } }, () => sleep(large ? 900 : 40));
    await redis.incrbyfloat('payments:total', amount);
  });
}

async function publishOrder(order) {
  const attributes = { 'messaging.system': 'redis', 'messaging.destination.name': 'orders', 'order.id': order.id };
  return inSpan('publish orders', { kind: SpanKind.PRODUCER, attributes }, async () => {
    const carrier = {};
    propagation.inject(context.active(), carrier);
    await redis.lpush('orders', JSON.stringify({ ...order, carrier }));
  });
}

/** Reserves one line of a cart; the inventory sometimes refuses for a moment, so it is asked twice. */
async function reserve(productId, quantity) {
  const options = { attributes: { 'product.id': productId, quantity } };
  return inSpan('checkout.reserve', options, async (span) => {
    const request = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ productId, quantity }),
    };
    try {
      return await inventory('/reservations', request);
    } catch (error) {
      if (error.status !== 503) {
        throw error;
      }
      span.addEvent('retry');
      span.setAttribute('retries', 1);
      return inventory('/reservations', request);
    }
  });
}

async function session(req, _res, next) {
  const user = req.get('x-user') ?? 'anonymous';
  const visits = await redis.hincrby(`session:${user}`, 'requests', 1);
  trace.getActiveSpan()?.setAttributes({ 'user.id': user, 'session.requests': visits });
  req.user = user;
  next();
}

const app = express();

app.get('/healthz', async (_req, res) => res.json({ redis: await redis.ping() }));

app.use(express.json());
app.use(session);

app.get('/products', async (req, res) => {
  const ids = await redis.smembers(`category:${req.query.category}`);
  const page = ids.sort().slice(0, PAGE_SIZE);
  if (page.length === 0) {
    throw new HttpError(404, 'no such category');
  }
  const [products, stock] = await Promise.all([
    redis.mget(page.map((id) => `product:${id}`)),
    inventory(`/stock?ids=${page.join(',')}`),
  ]);
  res.json(page.map((id, i) => ({ id, ...JSON.parse(products[i]), stock: stock[id] })));
});

app.get('/products/:id', async (req, res) => {
  const product = await loadProduct(req.params.id);
  const [price, stock, alsoBought] = await Promise.all([
    priceOf(product),
    inventory(`/stock/${product.id}`),
    recommend(product.id, 3),
  ]);
  res.json({ ...product, price, stock, alsoBought });
  // Not waited for: these spans end after the request's own.
  void inSpan('analytics.record_view', { attributes: { 'product.id': product.id } }, async () => {
    await redis.zincrby('views', 1, product.id);
    await redis.lpush(`history:${req.user}`, product.id);
  });
});

app.get('/products/:id/recommendations', async (req, res) => {
  res.json(await recommend(req.params.id, Number(req.query.depth)));
});

app.get('/export/catalog', async (_req, res) => {
  const ids = await redis.smembers('products');
  const rows = await Promise.all(ids.map((id) => redis.get(`product:${id}`)));
  res.type('text/plain').send(rows.join('\n'));
});

app.get('/reports/sales', async (_req, res) => {
  try {
    res.json(await inventory('/reports/sales', { signal: AbortSignal.timeout(REPORT_TIMEOUT_MS) }));
  } catch (error) {
    throw new HttpError(504, `report not ready: ${error.name}`);
  }
});

app.get('/cart', async (req, res) => {
  const lines = await redis.hgetall(`cart:${req.user}`);
  const products = await Promise.all(Object.keys(lines).map(loadProduct));
  res.json(products.map((product) => ({ ...product, quantity: Number(lines[product.id]) })));
});

app.post('/cart/items', async (req, res) => {
  const { productId, quantity } = req.body;
  const product = await loadProduct(productId);
  const stock = await inventory(`/stock/${product.id}`);
  if (stock.available < quantity) {
    throw new HttpError(409, `only ${stock.available} left of ${product.id}`);
  }
  await redis.multi().hincrby(`cart:${req.user}`, product.id, quantity).expire(`cart:${req.user}`, 600).exec();
  res.status(201).json({ productId, quantity });
});

app.post('/checkout', async (req, res) => {
  const lines = Object.entries(await redis.hgetall(`cart:${req.user}`));
  if (lines.length === 0) {
    throw new HttpError(400, 'the cart is empty');
  }
  await Promise.all(lines.map(([productId, quantity]) => reserve(productId, Number(quantity))));
  const amount = await inSpan('checkout.total', { attributes: { 'cart.lines': lines.length } }, async (span) => {
    const amounts = await Promise.all(
      lines.map(async ([id, quantity]) => Number(quantity) * (await priceOf(await loadProduct(id)))),
    );
    const total = Math.round(amounts.reduce((sum, value) => sum + value, 0) * 100) / 100;
    span.setAttribute('cart.total', total);
    return total;
  });
  await pay(req.user, amount);
  const id = `order-${await redis.incr('orders:next')}`;
  await redis.multi().hset(`order:${id}`, { user: req.user, amount }).del(`cart:${req.user}`).exec();
  await publishOrder({ id, lines });
  res.status(201).json({ id, amount });
});

app.use(errorHandler);

serve(app, { beforeExit: () => redis.quit() });
