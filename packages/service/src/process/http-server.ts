import { createServer, type Server } from 'node:http';
import { SpanbufError } from '@spanbuf/keys';

/** The port of health and metrics cannot be had. */
export class HttpPortError extends SpanbufError {
  readonly code = 'SPANBUF_HTTP_PORT';
  readonly retriable = true;
}

export interface HttpServerOptions {
  readonly host: string;
  /** 0 is any that is free. */
  readonly port: number;
  /** What `/metrics` answers. */
  readonly metrics: () => Promise<{ readonly text: string; readonly contentType: string }>;
  /** Problems, one line each. */
  readonly liveProblems: () => readonly string[];
  readonly readyProblems: () => readonly string[];
}

export interface HttpServer {
  readonly port: number;
  /** Ends it with all its connections. */
  close(): void;
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly contentType?: string;
}

/** How long a client may take for its request, milliseconds. */
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Serves `/metrics`, `/livez` and `/readyz`.
 * @throws {@link HttpPortError}
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const answers: Readonly<Record<string, () => Answer | Promise<Answer>>> = {
    '/metrics': async () => {
      const { text, contentType } = await options.metrics();
      return { status: 200, body: text, contentType };
    },
    '/livez': () => health(options.liveProblems),
    '/readyz': () => health(options.readyProblems),
  };
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS });
  server.on('request', async ({ method, url = '' }, response) => {
    const isRead = method === 'GET' || method === 'HEAD';
    const path = url.split('?', 1)[0] as string;
    const answer = isRead ? await answerFrom(Object.hasOwn(answers, path) ? answers[path] : undefined) : NOT_ALLOWED;
    const { status, body, contentType = 'text/plain; charset=utf-8' } = answer;
    response.writeHead(status, {
      'content-type': contentType,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      ...(status === NOT_ALLOWED.status && { allow: 'GET, HEAD' }),
    });
    response.end(method === 'HEAD' ? undefined : body);
  });
  await listening(server, options);
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

const NOT_ALLOWED: Answer = { status: 405, body: 'method not allowed\n' };

async function answerFrom(answer: (() => Answer | Promise<Answer>) | undefined): Promise<Answer> {
  if (answer === undefined) return { status: 404, body: 'not found: there are /metrics, /livez and /readyz\n' };
  try {
    return await answer();
  } catch (error) {
    return { status: 500, body: `${error instanceof Error ? error.message : String(error)}\n` };
  }
}

function health(problems: () => readonly string[]): Answer {
  const lines = problems();
  return lines.length === 0 ? { status: 200, body: 'ok\n' } : { status: 503, body: `${lines.join('\n')}\n` };
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the port is in use',
  EACCES: 'permission denied',
  EADDRNOTAVAIL: 'this machine does not have that address',
  ENOTFOUND: 'there is no such host',
};

function listening(server: Server, { host, port }: HttpServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    // It stays: an error of a server that listens ends one connection, and is no reason to end the app.
    server.on('error', (error: NodeJS.ErrnoException) => {
      const reason = REASONS[error.code ?? ''] ?? error.message;
      reject(new HttpPortError(`cannot serve health and metrics on ${host}:${port}: ${reason}`, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
}
