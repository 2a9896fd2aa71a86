/** Tests that need the run's own Kafka broker, which tooling/vitest-servers.ts has started. */
import { describe, inject } from 'vitest';

/**
 * `describe`, skipped where Kafka cannot be had.
 * @param suite - gets the address of the run's broker, `host:port`.
 */
export function describeWithKafka(name: string, suite: (brokers: string) => void): void {
  const brokers = inject('kafkaBrokers');
  describe.skipIf(brokers === '')(name, () => suite(brokers));
}
