import { describe, expect, it } from 'vitest';
import { InvalidShare, TooManyInvalidError } from '../src/invalid-share.ts';

describe('InvalidShare', () => {
  it('lets pass what is within the limit, for ever', () => {
    const share = new InvalidShare(0.2);
    for (let i = 0; i < 1_000; i++) share.add(1_000, 199, 'broken');
  });

  it('refuses more than that, naming the setting and an example', () => {
    const share = new InvalidShare(0.2);
    const add = () => {
      for (let i = 0; i < 10; i++) share.add(500, 150, 'not JSON');
    };
    expect(add).toThrow(TooManyInvalidError);
    expect(add).toThrow(/30 %.*SPANBUF_MAX_INVALID_SHARE.*20 %.*not JSON/);
  });

  it('says nothing about a handful of messages', () => {
    const share = new InvalidShare(0.2);
    for (let i = 0; i < 99; i++) share.add(10, 10, 'broken');
  });

  it('forgets: good messages of long ago do not hide bad ones of today', () => {
    const share = new InvalidShare(0.5);
    for (let i = 0; i < 1_000; i++) share.add(2_000, 0, undefined);
    expect(() => {
      for (let i = 0; i < 8; i++) share.add(2_000, 2_000, 'broken');
    }).toThrow(TooManyInvalidError);
  });

  it('lets everything pass at 1, and nothing at 0', () => {
    const all = new InvalidShare(1);
    for (let i = 0; i < 10; i++) all.add(1_000, 1_000, 'broken');
    const none = new InvalidShare(0);
    expect(() => none.add(1_000, 1, 'broken')).toThrow(TooManyInvalidError);
  });
});
