// Reads and checks the certificates and keys of --tls-cert and --tls-key, and reads them again when
// they change on disk. New connections use the new certificate; an unusable one changes nothing.

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createSecureContext, type SecureContext } from "node:tls";
import { UsageError } from "../../runtime/arguments.ts";
import type { Logger } from "../../runtime/log.ts";
import { chooserOf, dnsNamesIn } from "./certificates.ts";

/**
 * How often the files are checked. A change counts once two checks have seen the same files, so
 * that a partial write is not read.
 */
const LOOK_MS = 500;

/**
 * TLS 1.2's suites with forward secrecy and authenticated encryption; all TLS 1.3 suites qualify.
 */
const CIPHERS = ["ECDHE-ECDSA", "ECDHE-RSA"]
  .flatMap((exchange) =>
    ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"].map(
      (suite) => `${exchange}-${suite}`,
    ),
  )
  .join(":");

export type CertificateFiles = { readonly cert: string; readonly key: string };

type Certificate = {
  readonly context: SecureContext;
  readonly names: readonly string[];
  readonly expires: string;
};

/** A pair of files, and their last state. */
type Pair = {
  readonly files: CertificateFiles;
  certificate: Certificate;
  text: string;
  stamp: string;
  /** A change that one check has seen. */
  changing: string | undefined;
};

export class Certificates {
  readonly #pairs: Pair[];
  readonly #log: Logger;
  #choose: (name: string) => SecureContext | undefined;
  #isLooking = false;

  /** Throws UsageError for unusable files. */
  constructor(files: readonly CertificateFiles[], log: Logger) {
    this.#log = log;
    this.#pairs = files.map((each) => {
      const stamp = stampOf(each);
      const cert = readNow("--tls-cert", each.cert);
      const key = readNow("--tls-key", each.key);
      return {
        files: each,
        certificate: certificateIn(each, cert, key),
        text: cert + key,
        stamp,
        changing: undefined,
      };
    });
    for (const { files, certificate } of this.#pairs)
      this.#tell(files, certificate, "certificate read");
    this.#choose = this.#chooser();
    setInterval(
      () => this.#look().catch((err) => log.error({ err }, "cannot watch certificates")),
      LOOK_MS,
    );
  }

  /**
   * The context of the first certificate: for clients without a server name, or with one that no
   * certificate has.
   */
  get first(): SecureContext {
    return this.#pairs[0].certificate.context;
  }

  choose(name: string): SecureContext | undefined {
    return this.#choose(name);
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      for (const pair of this.#pairs) await this.#lookAt(pair);
    } finally {
      this.#isLooking = false;
    }
  }

  async #lookAt(pair: Pair): Promise<void> {
    const { files } = pair;
    const stamp = stampOf(files);
    if (stamp === pair.stamp || stamp !== pair.changing) {
      pair.changing = stamp === pair.stamp ? undefined : stamp;
      return;
    }
    pair.stamp = stamp;
    pair.changing = undefined;
    try {
      const [cert, key] = [
        await read("--tls-cert", files.cert),
        await read("--tls-key", files.key),
      ];
      if (cert + key === pair.text) return;
      pair.certificate = certificateIn(files, cert, key);
      pair.text = cert + key;
      this.#choose = this.#chooser();
      this.#tell(
        files,
        pair.certificate,
        "certificate replaced: new connections are shown the new one",
      );
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#log.error(
        { cert: files.cert, key: files.key, why },
        "the certificate on disk cannot be used: the one before stays",
      );
    }
  }

  #chooser(): (name: string) => SecureContext | undefined {
    return chooserOf(
      this.#pairs.map(({ certificate: { context, names } }) => [context, names] as const),
    );
  }

  #tell({ cert }: CertificateFiles, { names, expires }: Certificate, what: string): void {
    this.#log.info({ cert, names, expires }, what);
    if (Date.parse(expires) < Date.now())
      this.#log.warn({ cert, expires }, "this certificate has expired");
  }
}

/** A value that changes when either file does. */
function stampOf({ cert, key }: CertificateFiles): string {
  return [cert, key]
    .map((path) => {
      const stat = statSync(path, { throwIfNoEntry: false });
      return stat === undefined ? "none" : `${stat.mtimeMs} ${stat.ino} ${stat.size}`;
    })
    .join(", ");
}

const unreadable = (flag: string, path: string, error: unknown): UsageError =>
  new UsageError(
    `${flag} ${path} cannot be read: ${error instanceof Error ? error.message : error}`,
  );

function readNow(flag: string, path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    throw unreadable(flag, path, error);
  }
}

async function read(flag: string, path: string): Promise<string> {
  try {
    return await readFile(path, "latin1");
  } catch (error) {
    throw unreadable(flag, path, error);
  }
}

/** Throws UsageError that names the bad file and its fault. */
function certificateIn(files: CertificateFiles, cert: string, key: string): Certificate {
  const leaf = leafIn(files.cert, cert);
  if (!leaf.checkPrivateKey(keyIn(files.key, key)))
    throw new UsageError(
      `The key in ${files.key} does not belong to the certificate in ${files.cert}.`,
    );
  try {
    const context = createSecureContext({ cert, key, minVersion: "TLSv1.2", ciphers: CIPHERS });
    return { context, names: dnsNamesIn(leaf.subjectAltName), expires: leaf.validTo };
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    throw new UsageError(`The certificate in ${files.cert} and its key cannot be used: ${why}`);
  }
}

function leafIn(path: string, text: string): X509Certificate {
  const begun = text.split("-----BEGIN CERTIFICATE-----").length;
  const ended = text.split("-----END CERTIFICATE-----").length;
  try {
    if (begun > 1 && begun === ended) return new X509Certificate(text);
  } catch {
    // Reported below.
  }
  throw new UsageError(
    `--tls-cert ${path} holds no whole certificate in PEM form (-----BEGIN CERTIFICATE-----).`,
  );
}

function keyIn(path: string, text: string): KeyObject {
  if (/ENCRYPTED/.test(text))
    throw new UsageError(
      `--tls-key ${path} is encrypted: ` +
        "give a key without a passphrase, that only this user can read.",
    );
  try {
    return createPrivateKey(text);
  } catch {
    throw new UsageError(
      `--tls-key ${path} holds no whole private key in PEM form (-----BEGIN PRIVATE KEY-----).`,
    );
  }
}
