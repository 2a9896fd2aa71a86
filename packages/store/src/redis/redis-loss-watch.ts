import { formatEpochKey, formatSentinelKey, HASH_SLOTS, hashSlot } from '@spanbuf/keys';
import type { LossWatch, Verdict } from '../loss-watch.ts';
import type { ControlSettings } from './redis-buffer-control.ts';
import { evalsha, type RedisCommand, type RedisReply, type RedisRunner } from './redis-runner.ts';
import { loadScript } from './script.ts';

const beginEpoch = loadScript('begin-epoch');
const noteEpoch = loadScript('note-epoch');
const setSentinel = loadScript('set-sentinel');

/** A node with fewer slots in a row may be emptied unseen, until a segment is found to be incomplete. */
const SLOTS_PER_SENTINEL = 256;

/** One in each stretch of slots. */
const SENTINEL_TAGS = sentinelTags(HASH_SLOTS / SLOTS_PER_SENTINEL);

/** The smallest numbers whose slots are in one stretch each, in the order of the stretches. */
function sentinelTags(count: number): readonly number[] {
  const tags = new Map<number, number>();
  for (let tag = 0; tags.size < count; tag++) {
    const stretch = Math.floor(hashSlot(`{${tag}}`) / SLOTS_PER_SENTINEL);
    if (!tags.has(stretch)) tags.set(stretch, tag);
  }
  return [...tags].sort(([a], [b]) => a - b).map(([, tag]) => tag);
}

export class RedisLossWatch implements LossWatch {
  readonly #runner: RedisRunner;
  readonly #ttlSeconds: number;
  readonly #epochKey: string;
  readonly #sentinels: readonly string[];

  constructor(runner: RedisRunner, { sliceId, redisTtlSeconds }: ControlSettings) {
    const slice = sliceId === undefined ? {} : { sliceId };
    this.#runner = runner;
    this.#ttlSeconds = redisTtlSeconds;
    this.#epochKey = formatEpochKey(slice);
    this.#sentinels = SENTINEL_TAGS.map((tag) => formatSentinelKey({ ...slice, tag }));
  }

  async readEpoch(): Promise<number | undefined> {
    const [reply] = await this.#runner.run([{ key: this.#epochKey, name: 'hget', args: [this.#epochKey, 'epoch'] }]);
    return reply === null ? undefined : Number(reply);
  }

  async isWhole(known: number): Promise<boolean> {
    const { runIds, ...evidence } = await this.#look(known);
    // One of several masters is away: nobody can say yet.
    const isUnknown = runIds.length > 1 && runIds.includes(undefined) && !runIds.every((runId) => runId === undefined);
    return (
      !isUnknown && Number(evidence.fields['epoch'] ?? 0) === known && signOfLoss({ ...evidence, runIds }) === undefined
    );
  }

  async check(known: number): Promise<Verdict> {
    const evidence = await this.#look(known);
    const { fields } = evidence;
    const current = Number(fields['epoch'] ?? 0);
    if (current > known) return { epoch: current, sign: undefined };
    await this.#runner.run(
      [this.#epochKey, ...this.#sentinels].map((key): RedisCommand => {
        return { key, name: 'expire', args: [key, this.#ttlSeconds] };
      }),
    );
    const runIds = evidence.runIds.filter((runId) => runId !== undefined);
    const sign = signOfLoss(evidence);
    if (sign !== undefined) return this.#begin(known, runIds, sign);
    await this.#noteMasters(
      known,
      runIds.filter((runId) => fields[`master ${runId}`] === undefined),
    );
    return { epoch: known, sign: undefined };
  }

  async suspect(epoch: number, sign: string): Promise<void> {
    await this.#runner.run([evalsha(noteEpoch, [this.#epochKey], [epoch, 'suspect', sign])]);
  }

  async #look(known: number): Promise<Evidence> {
    const replies = await this.#runner.askMasters('info', ['server']);
    const runIds = replies.map(({ reply }) => /^run_id:(\w+)/m.exec(String(reply))?.[1]);
    const key = this.#epochKey;
    const [hash, ...sentinels] = await this.#runner.run([
      { key, name: 'hgetall', args: [key] },
      ...this.#sentinels.map((sentinel) => ({ key: sentinel, name: 'hget', args: [sentinel, 'epoch'] })),
    ]);
    // ioredis makes an object of the map that RESP3 answers.
    return { known, fields: hash as unknown as Record<string, Buffer>, sentinels, runIds };
  }

  async #begin(known: number, runIds: readonly string[], sign: string): Promise<Verdict> {
    const args = [this.#ttlSeconds, known, ...runIds];
    const [reply] = await this.#runner.run([evalsha(beginEpoch, [this.#epochKey], args)]);
    const [epoch, isNew] = reply as readonly [number, number];
    if (isNew === 0) return { epoch, sign: undefined };
    await this.#runner.run(this.#sentinels.map((key) => evalsha(setSentinel, [key], [this.#ttlSeconds, epoch])));
    return { epoch, sign: known === 0 ? undefined : sign };
  }

  /** Nodes that have joined. */
  async #noteMasters(epoch: number, runIds: readonly string[]): Promise<void> {
    if (runIds.length === 0) return;
    const fields = runIds.flatMap((runId) => [`master ${runId}`, 1]);
    await this.#runner.run([evalsha(noteEpoch, [this.#epochKey], [epoch, ...fields])]);
  }
}

/** What Redis said, and what the caller knows. */
interface Evidence {
  readonly known: number;
  readonly fields: Readonly<Record<string, Buffer>>;
  readonly sentinels: readonly RedisReply[];
  /** Of the masters; `undefined` of one that does not say. */
  readonly runIds: readonly (string | undefined)[];
}

function signOfLoss({ known, fields, sentinels, runIds }: Evidence): string | undefined {
  const current = Number(fields['epoch'] ?? 0);
  if (current < known) return 'the epoch is gone';
  const missing = sentinels.filter((sentinel) => String(sentinel) !== String(known)).length;
  if (missing > 0) return `${missing} of ${sentinels.length} sentinels are gone: a node has lost its data`;
  if (fields['suspect'] !== undefined) return String(fields['suspect']);
  const masters = Object.keys(fields).flatMap((field) => (field.startsWith('master ') ? [field.slice(7)] : []));
  const gone = runIds.includes(undefined) ? undefined : masters.find((runId) => !runIds.includes(runId));
  return gone && `master ${gone} was restarted or replaced: what it had acknowledged last may be lost`;
}
