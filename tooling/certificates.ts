/** Throwaway certificates for tests of TLS, made with openssl. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Files in PEM, all in one temporary directory. Keys are not encrypted. */
export interface Certificates {
  /** The authority, which signed the other two. It is in no system's store: who connects has to be told of it. */
  readonly caFile: string;
  /** Valid for 127.0.0.1 and localhost. */
  readonly certFile: string;
  readonly keyFile: string;
  /** Certificate and key of the server in one file, as Kafka wants them. */
  readonly keyStoreFile: string;
  /** For a client that has to show one; its subject is `CN=client`. */
  readonly clientCertFile: string;
  readonly clientKeyFile: string;
  /** The text of `caFile`. */
  readonly ca: string;
  /** Deletes the files. */
  remove(): void;
}

/** Makes an authority of its own at each call, about 50 ms. @throws Error when openssl (3 or newer) is missing. */
export async function makeCertificates(): Promise<Certificates> {
  const directory = mkdtempSync(join(tmpdir(), 'spanbuf-certificates-'));
  const file = (name: string) => join(directory, name);
  const make = async (name: string, args: readonly string[]) => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-keyout', file(`${name}.key`)];
    const subject = ['-subj', `/CN=${name}`, '-days', '2', '-out', file(`${name}.crt`)];
    await promisify(execFile)('openssl', ['req', '-x509', ...key, ...subject, ...args]);
  };
  try {
    await make('ca', ['-addext', 'basicConstraints=critical,CA:TRUE']);
    const signed = ['-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-addext', 'basicConstraints=critical,CA:FALSE'];
    await make('server', [...signed, '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost']);
    await make('client', signed);
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
  const text = (name: string) => readFileSync(file(name), 'utf8');
  writeFileSync(file('server.pem'), text('server.key') + text('server.crt'));
  return {
    caFile: file('ca.crt'),
    certFile: file('server.crt'),
    keyFile: file('server.key'),
    keyStoreFile: file('server.pem'),
    clientCertFile: file('client.crt'),
    clientKeyFile: file('client.key'),
    ca: text('ca.crt'),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
