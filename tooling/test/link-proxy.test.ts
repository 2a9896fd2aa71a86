/** The proxy that chaos disturbs connections with. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { LinkProxy } from '@spanbuf/tooling/link-proxy';
import { expect, it, onTestFinished } from 'vitest';

/** Sends back what it gets. Its proxy. */
async function anEcho(): Promise<LinkProxy> {
  const server = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy = await LinkProxy.open();
  proxy.passTo((server.address() as AddressInfo).port);
  onTestFinished(async () => {
    await proxy.close();
    server.close();
  });
  return proxy;
}

interface Client {
  readonly socket: Socket;
  /** All that came back so far. */
  readonly received: () => string;
}

const closed = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve));

async function aClient(port: number): Promise<Client> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  onTestFinished(() => void socket.destroy());
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  await once(socket, 'connect');
  return { socket, received: () => text };
}

/** A client in another process: writes 'open', and 'closed' once its connection is. */
async function aForeignClient(port: number): Promise<{ pid: number; next: () => Promise<unknown> }> {
  const code = `
    const socket = require('node:net').connect(${port}, '127.0.0.1', () => socket.write('x'));
    socket.on('error', () => undefined).once('data', () => console.log('open')).once('close', () => console.log('closed'));
    setInterval(() => undefined, 1_000);
  `;
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { pid: child.pid as number, next: async () => (await lines.next()).value };
}

it('passes everything on, in order, and the end too', async () => {
  const proxy = await anEcho();
  const { socket, received } = await aClient(proxy.port);
  const text = Array.from({ length: 100_000 }, (_, i) => i).join();
  socket.end(text);
  await once(socket, 'end');
  // Compared as a whole, it would be shown as a whole.
  expect(received() === text).toBe(true);
});

it('resets connections, and new ones, until that is over', async () => {
  const proxy = await anEcho();
  const before = await aClient(proxy.port);
  const heal = proxy.disturb({ disturbance: { kind: 'cut' }, pid: undefined });
  await closed(before.socket);
  const during = connect(proxy.port, '127.0.0.1').on('error', () => undefined);
  await closed(during);
  heal();
  const after = await aClient(proxy.port);
  after.socket.write('back');
  await expect.poll(after.received).toBe('back');
});

it('lets nothing through while it is silent, and all of it afterwards', async () => {
  const proxy = await anEcho();
  const quiet = await aClient(proxy.port);
  const heal = proxy.disturb({ disturbance: { kind: 'silence' }, pid: () => process.pid });
  quiet.socket.write('first,');
  // Disturbed by nobody: what it gets would have been enough time for the other as well.
  const other = await anEcho();
  const loud = await aClient(other.port);
  loud.socket.write('heard');
  await expect.poll(loud.received).toBe('heard');
  expect(quiet.received()).toBe('');
  quiet.socket.write('second');
  heal();
  await expect.poll(quiet.received).toBe('first,second');
});

it('delays what is sent, and keeps its order', async () => {
  const [proxy, other] = [await anEcho(), await anEcho()];
  const [slow, quick] = [await aClient(proxy.port), await aClient(other.port)];
  const heal = proxy.disturb({ disturbance: { kind: 'delay', milliseconds: 2_000 }, pid: undefined });
  slow.socket.write('late,');
  quick.socket.write('at once');
  await expect.poll(quick.received).toBe('at once');
  expect(slow.received()).toBe('');
  heal();
  slow.socket.write('later');
  await expect.poll(slow.received).toBe('late,later');
});

it('disturbs the connections of one process alone', async () => {
  const proxy = await anEcho();
  const ours = await aClient(proxy.port);
  const foreign = await aForeignClient(proxy.port);
  expect(await foreign.next()).toBe('open');
  const heal = proxy.disturb({ disturbance: { kind: 'cut' }, pid: () => foreign.pid });
  expect(await foreign.next()).toBe('closed');
  expect(heal()).toBe(1);
  ours.socket.write('still here');
  await expect.poll(ours.received).toBe('still here');
});
