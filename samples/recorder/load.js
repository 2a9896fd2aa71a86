'use strict';

const { setTimeout: sleep } = require('node:timers/promises');

const USERS = 6;
const JOURNEYS_PER_USER = 5;
const PRODUCTS = 240;
const BROKEN_PRODUCT = 'p-013';
const CATEGORIES = ['kitchen', 'garden', 'books', 'games', 'tea', 'lamps'];
const LANGUAGES = ['en-GB', 'de-DE', 'fr-FR,fr;q=0.8', 'ja-JP'];
const NAMES = ['Kettle', 'Crème brûlée torch', 'Gießkanne', '煎茶', 'Desk lamp', 'Chess set', 'Field guide', 'Trowel'];

const productId = (n) => `p-${String(n).padStart(3, '0')}`;

/** A small seeded generator (mulberry32), so that each recording asks for the same things. */
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Fills an empty Redis with the catalogue. */
async function seed(redis) {
  const random = randomFrom(1);
  const pipeline = redis.pipeline();
  for (let n = 0; n < PRODUCTS; n += 1) {
    const id = productId(n);
    const category = CATEGORIES[n % CATEGORIES.length];
    const product = {
      id,
      name: `${NAMES[n % NAMES.length]} No. ${n}`,
      category,
      listPrice: Math.round(500 + random() * 12_000) / 100,
      tags: [category, n % 3 === 0 ? 'sale' : 'regular'],
    };
    // One product is damaged: its page answers 500.
    pipeline.set(`product:${id}`, id === BROKEN_PRODUCT ? '{"id":' : JSON.stringify(product));
    pipeline.sadd('products', id);
    pipeline.hset('stock', id, 8 + Math.floor(random() * 40));
    if (id !== BROKEN_PRODUCT) {
      pipeline.sadd(`category:${category}`, id);
    }
    // Always one product further on, so that a walk can go deep.
    pipeline.sadd(`also-bought:${id}`, productId((n + 1) % PRODUCTS), productId((n + 7) % PRODUCTS));
  }
  for (const [i, category] of CATEGORIES.entries()) pipeline.hset('discounts', category, i / 20);
  await pipeline.exec();
}

/** Sends the load; resolves to how often each status came back (`aborted` when the client gave up). */
async function run(shopUrl, inventoryUrl) {
  const statuses = {};
  let requests = 0;

  async function request(user, path, { method = 'GET', json, patience, base = shopUrl } = {}) {
    requests += 1;
    const headers = {
      'user-agent': 'load-driver/1.0',
      'accept-language': LANGUAGES[user % LANGUAGES.length],
      'x-request-id': `req-${String(requests).padStart(4, '0')}`,
      'x-user': `user-${user}`,
      ...(json && { 'content-type': 'application/json' }),
    };
    const body = json && JSON.stringify(json);
    const signal = patience && AbortSignal.timeout(patience);
    let outcome = 'aborted';
    try {
      const response = await fetch(`${base}${path}`, { method, headers, body, signal });
      await response.arrayBuffer();
      outcome = response.status;
    } catch (error) {
      if (error.name !== 'TimeoutError') {
        throw error;
      }
    }
    statuses[outcome] = (statuses[outcome] ?? 0) + 1;
  }

  async function browse(user, random) {
    await request(user, `/products?category=${CATEGORIES[Math.floor(random() * CATEGORIES.length)]}`);
    await sleep(100 + random() * 500);
    for (let i = 0; i < 2; i += 1) {
      await request(user, `/products/${productId(Math.floor(random() * PRODUCTS))}`);
      await sleep(100 + random() * 500);
    }
  }

  async function buy(user, random) {
    await request(user, `/products?category=${CATEGORIES[Math.floor(random() * CATEGORIES.length)]}`);
    for (let i = 0; i < 2; i += 1) {
      const id = productId(20 + Math.floor(random() * (PRODUCTS - 20)));
      await request(user, '/cart/items', { method: 'POST', json: { productId: id, quantity: 1 + i } });
      await sleep(100 + random() * 500);
    }
    await request(user, '/cart');
    await request(user, '/checkout', { method: 'POST' });
  }

  async function stray(user, random) {
    await request(user, '/products/p-999');
    await request(user, '/products?category=boats');
    await request(user, '/favicon.ico');
    await request(user, '/checkout', { method: 'POST' });
    await sleep(100 + random() * 500);
  }

  async function shopper(user) {
    const random = randomFrom(100 + user);
    for (let i = 0; i < JOURNEYS_PER_USER; i += 1) {
      const roll = random();
      await (roll < 0.45 ? browse : roll < 0.9 ? buy : stray)(user, random);
      await sleep(500 + random() * 2_000);
    }
  }

  /** The requests that each recording must hold, among the ordinary ones. */
  async function office(user) {
    await request(user, '/reports/sales', { patience: 400 });
    await request(user, `/products/${BROKEN_PRODUCT}`);
    await request(user, '/export/catalog');
    await request(user, `/products/${productId(30)}/recommendations?depth=60`);
    await request(user, '/reports/sales');
    await request(user, '/cart/items', { method: 'POST', json: { productId: productId(3), quantity: 500 } });
  }

  async function probe(user) {
    for (let i = 0; i < 4; i += 1) {
      await request(user, '/healthz');
      await request(user, '/healthz', { base: inventoryUrl });
      await sleep(1_000);
    }
  }

  const shoppers = Array.from({ length: USERS }, (_, user) => shopper(user));
  await Promise.all([...shoppers, office(USERS), probe(USERS + 1)]);
  return statuses;
}

module.exports = { run, seed };
