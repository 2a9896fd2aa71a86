/** A TCP proxy whose connections can be disturbed, those of one process alone if need be. Linux only. */
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { HOST } from './server-process.ts';

/**
 * `cut`: connections are reset, and new ones too. `silence`: nothing passes, connections stay open, and what was sent
 * arrives later. `delay`: what is sent arrives so much later, in both directions.
 */
export type Disturbance =
  | { readonly kind: 'cut' }
  | { readonly kind: 'silence' }
  | { readonly kind: 'delay'; readonly milliseconds: number };

export interface Disturbing {
  readonly disturbance: Disturbance;
  /** Process whose connections are meant, asked for each connection; undefined: those of everyone. */
  readonly pid: (() => number | undefined) | undefined;
}

export class LinkProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  /** With the connections that each has met. */
  readonly #disturbings = new Map<Disturbing, Set<Link>>();
  #targetPort: number | undefined;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (client) => this.#accept(client));
  }

  /** Listens on a free port of the loopback address, and leads nowhere yet. */
  static async open(): Promise<LinkProxy> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, HOST);
    await once(server, 'listening');
    return new LinkProxy(server);
  }

  /** Where connections lead to from now on, on the loopback address. */
  passTo(port: number): void {
    this.#targetPort = port;
  }

  /**
   * Disturbs the connections that there are and those to come.
   * @returns What ends it, and tells how many connections were disturbed; to be called once.
   */
  disturb(disturbing: Disturbing): () => number {
    const met = new Set<Link>();
    this.#disturbings.set(disturbing, met);
    this.#apply();
    return () => {
      this.#disturbings.delete(disturbing);
      this.#apply();
      return met.size;
    };
  }

  async close(): Promise<void> {
    for (const link of this.#links) link.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(client: Socket): void {
    const target = this.#targetPort;
    if (target === undefined) {
      client.on('error', () => undefined).resetAndDestroy();
      return;
    }
    const link = new Link(client, connect({ port: target, host: HOST, allowHalfOpen: true }), () =>
      this.#links.delete(link),
    );
    this.#links.add(link);
    this.#applyTo(link);
  }

  #apply(): void {
    for (const link of this.#links) this.#applyTo(link);
  }

  #applyTo(link: Link): void {
    const ports = { port: link.clientPort, peerPort: this.port };
    const disturbances: Disturbance[] = [];
    for (const [{ disturbance, pid }, met] of this.#disturbings) {
      if (pid !== undefined && !isOwner(pid(), ports)) continue;
      met.add(link);
      disturbances.push(disturbance);
    }
    if (disturbances.some(({ kind }) => kind === 'cut')) link.cut();
    link.silence(disturbances.some(({ kind }) => kind === 'silence'));
    link.delayMs = Math.max(0, ...disturbances.map((each) => (each.kind === 'delay' ? each.milliseconds : 0)));
  }
}

/** One connection through the proxy. */
class Link {
  readonly clientPort: number;
  delayMs = 0;
  #isSilent = false;
  readonly #sockets: readonly [Socket, Socket];

  constructor(client: Socket, upstream: Socket, onClose: () => void) {
    this.clientPort = client.remotePort ?? 0;
    this.#sockets = [client, upstream];
    let open = this.#sockets.length;
    for (const socket of this.#sockets) {
      socket.setNoDelay(true);
      socket
        .on('error', () => undefined)
        .once('close', () => {
          open -= 1;
          if (open === 0) onClose();
        });
    }
    this.#pass(client, upstream);
    this.#pass(upstream, client);
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  silence(isSilent: boolean): void {
    if (this.#isSilent === isSilent) return;
    this.#isSilent = isSilent;
    for (const socket of this.#sockets) {
      if (isSilent) socket.pause();
      else socket.resume();
    }
  }

  /** What was sent before the end still arrives, as it does where one of the two dies. */
  #pass(from: Socket, to: Socket): void {
    const waiting: { readonly dueMs: number; readonly act: () => void }[] = [];
    const actOnDue = (): void => {
      while (waiting[0] !== undefined && waiting[0].dueMs <= performance.now()) waiting.shift()?.act();
      if (waiting[0] !== undefined) setTimeout(actOnDue, waiting[0].dueMs - performance.now());
    };
    const inOrder = (act: () => void): void => {
      const isFirst = waiting.push({ dueMs: performance.now() + this.delayMs, act }) === 1;
      if (isFirst) actOnDue();
    };
    from.on('data', (chunk) =>
      inOrder(() => {
        if (to.destroyed || to.write(chunk)) return;
        from.pause();
        to.once('drain', () => !this.#isSilent && from.resume());
      }),
    );
    for (const end of ['end', 'close']) from.once(end, () => inOrder(() => to.end()));
  }
}

/** Whether a process has the end of a loopback connection that is on `port`. */
function isOwner(pid: number | undefined, { port, peerPort }: { port: number; peerPort: number }): boolean {
  if (pid === undefined) return false;
  const inode = inodeOf(port, peerPort);
  if (inode === undefined) return false;
  try {
    const folder = `/proc/${pid}/fd`;
    return readdirSync(folder).some((fd) => linkOf(`${folder}/${fd}`) === `socket:[${inode}]`);
  } catch {
    // The process has ended.
    return false;
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Of the socket with this port of its own and that port at the other end, as the kernel lists it. */
function inodeOf(port: number, peerPort: number): string | undefined {
  const ends = [port, peerPort].map((each) => `:${each.toString(16).toUpperCase().padStart(4, '0')}`);
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
    const [, local, remote, , , , , , , inode] = line.trim().split(/\s+/);
    if (local?.endsWith(ends[0] as string) && remote?.endsWith(ends[1] as string)) return inode;
  }
  return undefined;
}
