import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { describeWithKafka } from '@spanbuf/tooling/kafka-clients';
import { expect, it, onTestFinished } from 'vitest';
import type { Assignment, Kafka, LogBatch } from '../src/index.ts';
import { assigned, connect, newGroup, newTopic, numbered, type Reader, read, textOf, until, write } from './fixture.ts';

interface Member {
  readonly child: ChildProcess;
  readonly lines: Record<string, unknown>[];
  /** Lets it commit the batch it has. */
  goOn(): void;
}

function startMember(brokers: string, topic: string, groupId: string): Member {
  const child = spawn(process.execPath, [`${import.meta.dirname}/member.mjs`, brokers, topic, groupId], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines: Record<string, unknown>[] = [];
  createInterface({ input: child.stdout as Readable }).on('line', (line) => lines.push(JSON.parse(line)));
  return { child, lines, goOn: () => void (child.stdin as Writable).write('\n') };
}

describeWithKafka('a group', (brokers) => {
  const quick = { sessionTimeoutMs: 1_000 };

  it('takes over what a member had that was killed', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const groupId = newGroup();
    await write(kafka, topic, numbered('a', 10));
    const member = startMember(brokers, topic, groupId);
    await until(() => member.lines.length === 1);
    member.child.kill('SIGKILL');
    const { messages } = await read(kafka, { topic, groupId, ...quick });
    await until(() => messages.length === 10);
  });

  it('reads again from what is committed when it is told to, and says what was noted with it', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const groupId = newGroup();
    const assignments: Assignment[] = [];
    const onAssigned = (assignment: Assignment) => void assignments.push(assignment);
    await write(kafka, topic, numbered('a', 5));
    const { consumer, messages } = await read(kafka, { topic, groupId, onAssigned, ...quick });
    await until(() => messages.length === 5);
    expect(assignments[0]).toMatchObject({ positions: new Map(), notes: new Map() });
    expect(await consumer.commit(await assigned(consumer), new Map([[0, 3n]]), '17')).toBe(true);
    consumer.restart('something was lost');
    await until(() => messages.length === 7);
    expect(messages.slice(5).map(({ offset }) => offset)).toEqual([3n, 4n]);
    expect(assignments).toHaveLength(2);
    expect(assignments[0]?.signal.aborted).toBe(true);
    expect(assignments[1]).toMatchObject({ positions: new Map([[0, 3n]]), notes: new Map([[0, '17']]) });
    expect(await kafka.readCommitted(groupId, topic)).toEqual(new Map([[0, 3n]]));
  });

  it('is not disturbed by a member that was frozen and wakes up: it commits nothing', async () => {
    const kafka = connect(brokers);
    const topic = await newTopic(kafka);
    const groupId = newGroup();
    await write(kafka, topic, numbered('a', 5));
    const member = startMember(brokers, topic, groupId);
    await until(() => member.lines.length === 1);
    expect(member.lines[0]).toMatchObject({ partition: 0 });
    member.child.kill('SIGSTOP');
    const { consumer, messages } = await read(kafka, { topic, groupId, ...quick });
    await until(() => messages.length === 5);
    await write(kafka, topic, numbered('b', 5));
    await until(() => messages.length === 10);
    expect(await consumer.commit(await assigned(consumer), new Map([[0, 10n]]))).toBe(true);
    member.goOn();
    member.child.kill('SIGCONT');
    await until(() => member.lines.length > 1);
    expect(member.lines[1]).toEqual({ committed: false });
    expect(await kafka.readCommitted(groupId, topic)).toEqual(new Map([[0, 10n]]));
  });

  it('delivers everything, in order, while members come and go; committed offsets never go back', async () => {
    const kafka = connect(brokers);
    const partitionCount = 6;
    const topic = await newTopic(kafka, partitionCount);
    const groupId = newGroup();
    const delivered: { batch: LogBatch; isTaken: boolean }[] = [];
    const start = async (): Promise<Reader> => {
      const reader: Reader = await read(kafka, {
        topic,
        groupId,
        ...quick,
        onBatch: async (batch) => {
          const isTaken = randomInt(10) > 0;
          delivered.push({ batch, isTaken });
          if (!isTaken) throw new Error('not now');
          await reader.consumer.commit(batch.assignment, new Map([[batch.partition, batch.nextOffset]]));
        },
      });
      return reader;
    };

    let ended = false;
    const writing = writeOn(kafka, topic, () => ended);
    const watching = watchCommitted(kafka, topic, groupId, () => ended);
    const readers = [await start()];
    for (let round = 0; round < 8; round++) {
      const heard = delivered.length + 3;
      if (readers.length < 2 || (readers.length < 4 && randomInt(2) === 0)) readers.push(await start());
      else await readers.splice(randomInt(readers.length), 1)[0]?.consumer.stop();
      await until(() => delivered.length >= heard);
    }
    ended = true;
    const written = await writing;
    expect(await watching).toEqual([]);

    const all = (): Set<string> => new Set(delivered.flatMap(({ batch }) => batch.messages.map(textOf)));
    await until(() => all().size === written);
    const last = new Map((await kafka.readWatermarks(topic)).entries());
    await until(async () => {
      const committed = await kafka.readCommitted(groupId, topic);
      return [...last].every(([partition, { high }]) => (committed.get(partition) ?? 0n) === high);
    });
    // Within an assignment a partition is read without gaps, and again only what was not taken.
    const places = new Map<Assignment, Map<number, bigint>>();
    for (const { batch, isTaken } of delivered) {
      const next = places.get(batch.assignment) ?? new Map<number, bigint>();
      places.set(batch.assignment, next);
      const offsets = batch.messages.map(({ offset }) => offset);
      const [first = batch.nextOffset] = offsets;
      expect(first).toBe(next.get(batch.partition) ?? first);
      expect(offsets).toEqual(offsets.map((_, index) => first + BigInt(index)));
      next.set(batch.partition, isTaken ? batch.nextOffset : first);
    }
  });
});

/** Writes until `isEnded`. Returns how many messages. */
async function writeOn(kafka: Kafka, topic: string, isEnded: () => boolean): Promise<number> {
  let written = 0;
  for (; !isEnded(); written += 12) await write(kafka, topic, numbered(`round ${written}`, 12));
  return written;
}

/** Every time that a committed offset is lower than before. */
async function watchCommitted(kafka: Kafka, topic: string, groupId: string, isEnded: () => boolean): Promise<string[]> {
  const before = new Map<number, bigint>();
  const steps: string[] = [];
  while (!isEnded()) {
    const committed = await kafka.readCommitted(groupId, topic).catch(() => new Map<number, bigint>());
    for (const [partition, offset] of committed) {
      const last = before.get(partition) ?? 0n;
      if (offset < last) steps.push(`partition ${partition} from ${last} to ${offset}`);
      before.set(partition, offset);
    }
  }
  return steps;
}
