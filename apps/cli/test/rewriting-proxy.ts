/** A TCP proxy that changes what a server answers: for faults that no real server can be made to have here. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

const HOST = '127.0.0.1';

export class RewritingProxy {
  readonly port: number;
  /** Applied to each stretch of an answer as it arrives. */
  rewrite: (answer: string) => string = (answer) => answer;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (client) => {
      const target = connect(targetPort, HOST);
      for (const [one, other] of [
        [client, target],
        [target, client],
      ] as const) {
        this.#sockets.add(one);
        one.on('error', () => other.destroy()).on('close', () => other.destroy());
      }
      client.on('data', (data) => target.write(data));
      target.on('data', (data) => client.write(Buffer.from(this.rewrite(data.toString('latin1')), 'latin1')));
    });
  }

  /** Listens on a free port and leads to another, both on the loopback address. */
  static async open(targetPort: number): Promise<RewritingProxy> {
    const server = createServer();
    server.listen(0, HOST);
    await once(server, 'listening');
    return new RewritingProxy(server, targetPort);
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}
