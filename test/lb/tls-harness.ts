// What the tests of TLS share: clients that speak it, and certificates in a folder of their own.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { RawPeer } from "./harness.ts";
import { type Pair, selfSigned } from "./self-signed.ts";

/** A folder of certificates; `dispose` it. */
export class CertificateFolder {
  readonly path = mkdtempSync(join(tmpdir(), "tutti-tls-"));

  /** Writes a fresh certificate for these names; returns the flags that name it. */
  make(file: string, ...names: string[]): string[] {
    this.write(file, selfSigned(...names));
    return this.flags(file);
  }

  write(file: string, { cert, key }: Pair): void {
    writeFileSync(join(this.path, `${file}.crt`), cert);
    writeFileSync(join(this.path, `${file}.key`), key);
  }

  flags(file: string): string[] {
    return [
      "--tls-cert",
      join(this.path, `${file}.crt`),
      "--tls-key",
      join(this.path, `${file}.key`),
    ];
  }

  dispose(): void {
    rmSync(this.path, { recursive: true });
  }
}

/** A client that speaks TLS. */
export class TlsPeer extends RawPeer {
  readonly secured: tls.TLSSocket;
  /** The connection under it. */
  readonly below: net.Socket;

  private constructor(below: net.Socket, secured: tls.TLSSocket) {
    super(secured);
    this.secured = secured;
    this.below = below;
  }

  /** Resolves when the handshake is done. `first`: sent in the clear, ahead of it. */
  static async connect(
    lb: { readonly port: number },
    options: tls.ConnectionOptions = {},
    first?: string | Uint8Array,
  ): Promise<TlsPeer> {
    const below = net.connect({ host: "127.0.0.1", port: lb.port, allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      below.once("connect", resolve);
      below.once("error", reject);
    });
    if (first !== undefined) await new Promise((resolve) => below.write(first, resolve));
    const defaults = {
      socket: below,
      rejectUnauthorized: false,
      allowHalfOpen: true,
      ALPNProtocols: ["http/1.1"],
    };
    const secured = tls.connect({ ...defaults, ...options });
    const peer = new TlsPeer(below, secured);
    await new Promise<void>((resolve, reject) => {
      secured.once("secureConnect", resolve);
      secured.once("error", reject);
      secured.once("close", () =>
        reject(new Error("the connection closed before its handshake was done")),
      );
    });
    return peer;
  }

  /** The common name of the certificate that it was shown. */
  get shown(): string {
    return String(this.secured.getPeerCertificate().subject.CN);
  }

  get fingerprint(): string {
    return this.secured.getPeerCertificate().fingerprint256;
  }

  override reset(): void {
    this.below.resetAndDestroy();
  }
}
