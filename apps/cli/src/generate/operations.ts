import type { Random } from './random.ts';

/** What a span may stand for. */
export type Role = 'server' | 'job' | 'inner' | 'call' | 'leaf';

/** One kind of span: its name and the attributes that go with it, as JSON text with places to fill in. */
export interface Operation {
  /** A JSON string or null. */
  readonly name: string;
  /** Text, then what fills the place after it, in turn; begins and ends with a text. */
  readonly attributes: readonly (string | Fill)[];
}

type Fill = (random: Random) => string;

/** What `<…>` in an attribute's value stands for. */
const FILLS: Readonly<Record<string, Fill>> = {
  number: (random) => String(random.integer(1, 9_999)),
  port: (random) => String(random.integer(32_768, 60_999)),
  bytes: (random) => String(random.integer(120, 48_000)),
  // Trailing zeros are part of what was received.
  ratio: (random) => random.between(0, 1).toFixed(4),
  id: (random) => random.spanId(),
  word: (random) => random.pick(WORDS),
};
const WORDS = ['Ärmelkanal', 'fjord', 'lamp', 'teapot', 'naïve café', '茶碗', 'socks (3 pairs)', 'quote \\"x\\"', '🚲'];

/** By role. Names, fields and sizes follow samples/spans.ndjson, which was recorded; a rendered span has about 1 KB. */
export const OPERATIONS: Readonly<Record<Role, readonly Operation[]>> = {
  server: [
    ['GET', '/products/:id', '/products/p-<number>'],
    ['POST', '/cart/items', '/cart/items'],
    ['POST', '/checkout', '/checkout'],
    ['GET', '/search', '/search?q=<word>'],
    ['GET', '/stock/:id', '/stock/p-<number>'],
    ['GET', '/healthz', '/healthz'],
  ].map(([method, route, path]) =>
    operation(`${method} ${route}`, 'http.server', 'server', {
      'http.request.method': method,
      'url.scheme': 'https',
      'url.path': path,
      'http.route': route,
      'server.address': 'shop.example',
      'client.address': '203.0.113.7',
      'network.peer.port': '#<port>',
      'user_agent.original': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
      'http.request.header.x-request-id': '[]req-<id>',
      'http.response.status_code': '#200',
      'http.response.body.size': '#<bytes>',
    }),
  ),
  job: [
    operation('report.day', 'cron', 'internal', {
      'cron.schedule': '17 3 * * *',
      'report.rows': '#<bytes>',
      'messaging.message.id': '<id>',
    }),
    operation('orders process', 'queue.process', 'consumer', {
      'messaging.system': 'kafka',
      'messaging.destination.name': 'orders',
      'messaging.message.id': '<id>',
      'messaging.message.body.size': '#<bytes>',
      'messaging.kafka.offset': '#90071992547<port><number>',
    }),
  ],
  inner: [
    operation('middleware - session', 'middleware.express', 'internal', {
      'express.name': 'session',
      'express.type': 'middleware',
      'session.id': '<id>',
    }),
    operation('request handler', 'request_handler.express', 'internal', {
      'http.route': '/products/:id',
      'express.name': '/products/:id',
      'express.type': 'request_handler',
    }),
    operation('catalog.load', 'function', 'internal', {
      'product.id': 'p-<number>',
      'product.title': '<word>',
      'code.function.name': 'loadProduct',
      // Beyond what a double holds.
      'thread.id': '#1844674407<port><number>',
    }),
    operation('pricing.quote', 'function', 'internal', {
      'price.discount': '.<ratio>',
      'price.currency': 'EUR',
      'price.items': '#<number>',
    }),
    operation(null, 'function', 'internal', { 'code.function.name': 'anonymous', 'code.line.number': '#<number>' }),
  ],
  call: [
    operation('GET', 'http.client', 'client', {
      'http.request.method': 'GET',
      'url.full': 'https://inventory.example/stock/p-<number>?warehouse=<number>',
      'server.address': 'inventory.example',
      'server.port': '#443',
      'http.response.status_code': '#200',
      'http.response.body.size': '#<bytes>',
    }),
    operation('POST', 'http.client', 'client', {
      'http.request.method': 'POST',
      'url.full': 'https://payments.example/authorize/<id>',
      'server.address': 'payments.example',
      'server.port': '#443',
      'http.response.status_code': '#201',
    }),
  ],
  leaf: [
    operation('get', 'db.redis', 'client', {
      'db.system.name': 'redis',
      'db.operation.name': 'get',
      'db.query.text': 'get product:p-<number>',
      'server.address': 'cache.internal',
      'server.port': '#6379',
      'cache.hit': '!true',
    }),
    operation('SELECT shop.products', 'db.postgresql', 'client', {
      'db.system.name': 'postgresql',
      'db.namespace': 'shop',
      'db.query.text':
        'SELECT id, title, price FROM products WHERE id = $1 AND warehouse = $2 ORDER BY title LIMIT <number>',
      'server.address': 'db.internal',
      'server.port': '#5432',
      'db.response.returned_rows': '#<number>',
    }),
    operation('INSERT shop.orders', 'db.postgresql', 'client', {
      'db.system.name': 'postgresql',
      'db.namespace': 'shop',
      'db.query.text': 'INSERT INTO orders (id, customer, total) VALUES ($1, $2, $3) RETURNING id',
      'server.address': 'db.internal',
      'server.port': '#5432',
    }),
    operation('render', 'template', 'internal', { 'template.name': 'product.html', 'template.bytes': '#<bytes>' }),
  ],
};

/**
 * @param values - `#` makes an integer, `.` a float, `!` a boolean, `[]` an array of one string of what follows; anything
 * else is a string. `<…>` is a place to fill, see {@link FILLS}.
 */
function operation(
  name: string | null,
  op: string,
  kind: string,
  values: Readonly<Record<string, string | undefined>>,
): Operation {
  const attributes = { 'sentry.op': op, 'sentry.origin': 'auto.otel', 'span.kind': kind, ...values };
  const text = Object.entries(attributes).map(([key, value = '']) => attributeText(key, value));
  const parts = text.join(',').split(/<([a-z]+)>/);
  return {
    name: JSON.stringify(name),
    attributes: parts.map((part, i) => (i % 2 === 0 ? part : (FILLS[part] as Fill))),
  };
}

/** One member of a span's attributes. */
export function attributeText(key: string, value: string): string {
  const [, mark, rest] = /^(#|\.(?=<)|!|\[\])?(.*)$/s.exec(value) as unknown as [string, string | undefined, string];
  const [type, json] = {
    '#': ['integer', rest],
    '.': ['double', rest],
    '!': ['boolean', rest],
    '[]': ['array', `["${rest}"]`],
  }[mark ?? ''] ?? ['string', `"${rest}"`];
  return `"${key}":{"type":"${type}","value":${json}}`;
}
