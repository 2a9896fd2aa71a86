import type { KafkaConnection } from '@spanbuf/kafka';
import { InvalidSettingsError, kafkaSettings, parseSettings, readKafkaConnection, sharedRules } from '@spanbuf/service';
import { UsageError } from '../settings.ts';

/**
 * How to reach the brokers that `--kafka` names, with TLS and SASL as the environment has them for the services.
 * @throws {@link UsageError}
 */
export function kafkaConnection(
  brokers: string,
  env: Readonly<Record<string, string | undefined>>,
  clientId = 'spanbuf-generate',
): KafkaConnection {
  const brokersName = kafkaSettings.kafkaBrokers.name;
  // The rest of a service's environment may be there as well, and is not ours to judge.
  const names = Object.values(kafkaSettings).map(({ name }) => name);
  const ours = { ...Object.fromEntries(names.map((name) => [name, env[name]])), [brokersName]: brokers };
  try {
    return readKafkaConnection(parseSettings(kafkaSettings, ours, { rules: sharedRules }), clientId);
  } catch (error) {
    if (!(error instanceof InvalidSettingsError)) throw error;
    throw new UsageError(error.problems.map((problem) => problem.replace(brokersName, '--kafka')).join('; '));
  }
}
