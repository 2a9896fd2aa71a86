import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** In front of a broker: passes bytes on, and can cut connections in the middle of an answer. */
export interface TcpProxy {
  /** `host:port` */
  readonly address: string;
  readonly cutCount: number;
  /** How much was answered so far. */
  readonly answeredBytes: number;
  /** Where connections lead to. Before that they are closed. */
  passTo(address: string): void;
  /** Cuts the connection on which so many further bytes have been answered; undefined: none. */
  cutEvery(answerBytes: number | undefined): void;
  close(): void;
}

export async function startProxy(): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let target: string[] = [];
  let cutBytes: number | undefined;
  let passedBytes = 0;
  let cutCount = 0;
  let answeredBytes = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(target[1] ?? 1), target[0]);
    const end = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', end).on('close', () => {
        sockets.delete(socket);
        end();
      });
    }
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      passedBytes += chunk.length;
      answeredBytes += chunk.length;
      if (cutBytes === undefined || passedBytes < cutBytes) {
        client.write(chunk);
        return;
      }
      // What is short of the limit still arrives.
      client.end(chunk.subarray(0, chunk.length - (passedBytes - cutBytes)));
      upstream.destroy();
      passedBytes = 0;
      cutCount++;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get cutCount() {
      return cutCount;
    },
    get answeredBytes() {
      return answeredBytes;
    },
    passTo: (address) => {
      target = address.split(':');
    },
    cutEvery: (answerBytes) => {
      cutBytes = answerBytes;
      passedBytes = 0;
    },
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
