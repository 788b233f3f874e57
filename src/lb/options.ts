// The command line of the lb: every flag, its default and its limits. Nothing here opens anything
// but the secret file.

import {
  type Address,
  formatAddress,
  type NamedRelay,
  parseAddress,
  parseCommandLine,
  parseInteger,
  parseLogLevel,
  parseRelays,
  parseTcpAddress,
  readSecret,
  UsageError,
} from "../runtime/arguments.ts";
import type { LogLevel } from "../runtime/log.ts";
import { type Shape, type ShapedFields, shapeFields } from "../wire/shape.ts";
import type { CertificateFiles } from "./accept/certificate-files.ts";
import type { CookiePolicy } from "./http/cookie.ts";
import { parseTrust, type Trust } from "./net/trust.ts";

type WholeNumber = Shape<number> & { readonly byDefault: number; readonly meaning: string };

/** The shape of a number that a flag sets, 0 meaning "off" where it is the least. */
function whole(byDefault: number, min: number, max: number, meaning: string): WholeNumber {
  const shape: Shape<number> = (value, name) =>
    typeof value === "string" ? parseInteger(value, flagOf(name), min, max) : byDefault;
  return Object.assign(shape, { byDefault, meaning });
}

/** `headTimeoutMs` is set by `--head-timeout-ms`. */
const flagOf = (name: string): string =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

const NUMBERS = {
  connectionsMax: whole(
    0,
    0,
    1_000_000,
    "client connections in all (0: as many as file descriptors allow)",
  ),
  addressConnectionsMax: whole(
    0,
    0,
    1_000_000,
    "client connections from one address (0: no limit)",
  ),
  nodeConnectionsMax: whole(
    0,
    0,
    1_000_000,
    "connections to one node; further requests wait (0: no limit)",
  ),
  connectionsPerSecond: whole(0, 0, 1_000_000, "new client connections a second (0: no limit)"),
  queueMax: whole(4096, 0, 1_000_000, "requests that wait while every node is at a limit"),
  headBytesMax: whole(32_768, 1024, 1_048_576, "bytes of a request's or an answer's head"),
  targetBytesMax: whole(8192, 256, 1_000_000, "bytes of a request's target"),
  headFieldsMax: whole(100, 10, 10_000, "fields of a head"),
  bodyBytesMax: whole(1_073_741_824, 0, Number.MAX_SAFE_INTEGER, "bytes of a request's body"),
  headTimeoutMs: whole(
    10_000,
    100,
    86_400_000,
    "from a request's first byte to the end of its head",
  ),
  bodyTimeoutMs: whole(30_000, 100, 86_400_000, "between two pieces of a request's body"),
  keepAliveTimeoutMs: whole(30_000, 100, 86_400_000, "idle between two requests"),
  queueTimeoutMs: whole(5000, 100, 86_400_000, "waiting for a node that has room"),
  connectTimeoutMs: whole(3000, 100, 86_400_000, "connecting to a node"),
  responseTimeoutMs: whole(
    60_000,
    100,
    86_400_000,
    "waiting for a node's answer, or its next piece",
  ),
  tunnelTimeoutMs: whole(3_600_000, 100, 604_800_000, "a tunnel without traffic"),
  halfClosedTimeoutMs: whole(10_000, 100, 86_400_000, "a tunnel that one side has ended"),
  stallTimeoutMs: whole(
    60_000,
    100,
    86_400_000,
    "a reader that takes no bytes while some wait for it",
  ),
  checkIntervalMs: whole(1000, 50, 3_600_000, "between two health checks of a node"),
  checkTimeoutMs: whole(2000, 50, 3_600_000, "a health check"),
  endingsPerSecond: whole(
    2000,
    1,
    1_000_000,
    "clients a second that are disconnected when their node has disconnected",
  ),
  drainMs: whole(
    10_000,
    0,
    86_400_000,
    "for a draining lb, until it closes the WebSockets that are left (with 1012)",
  ),
  rise: whole(2, 1, 1000, "good checks in a row until a node is up again"),
  fall: whole(1, 1, 1000, "bad checks in a row until a node is down"),
  rampMs: whole(
    10_000,
    0,
    86_400_000,
    "until a node that came (back) gets its full share (0: at once)",
  ),
};
export type Numbers = ShapedFields<typeof NUMBERS>;

/** Where nodes come from: the relays' registries, or the command line. */
export type Source =
  | { readonly kind: "relays"; readonly relays: readonly NamedRelay[]; readonly secret: string }
  | { readonly kind: "upstreams"; readonly upstreams: readonly Address[] };

export type Options = {
  readonly id: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly reusePort: boolean;
  readonly source: Source;
  readonly logLevel: LogLevel;
  /** Undefined: no sticky cookie. */
  readonly cookie: CookiePolicy | undefined;
  /** What cookies and the name in Via are derived from; undefined: a random one. */
  readonly key: string | undefined;
  readonly trust: Trust;
  /** Empty: no TLS. The first is shown where no name fits. */
  readonly certificates: readonly CertificateFiles[];
  /** Trusted peers begin with a PROXY header. */
  readonly proxyProtocol: boolean;
  /**
   * The path that the lb answers itself: 200 while a node is up. Undefined: nodes answer every
   * path.
   */
  readonly healthPath: string | undefined;
  /** The path asked of nodes; undefined: a connection is proof enough. */
  readonly checkPath: string | undefined;
  /** The file of the access log, "-" for standard output; undefined: there is none. */
  readonly accessLog: string | undefined;
  readonly numbers: Numbers;
};

/** Where nodes tell how they are, and the lb itself. */
const HEALTH_PATH = "/healthz";

const numberHelp = Object.entries(NUMBERS)
  .map(
    ([name, { byDefault, meaning }]) => `  ${`${flagOf(name)} ${byDefault}`.padEnd(34)} ${meaning}`,
  )
  .join("\n");

export const HELP = `\
Usage: bun run lb --listen host:port --upstream host:port [--upstream …] [flags]
       bun run lb --listen host:port --relay id=host:port [--relay …] --secret-file FILE [flags]

A leastconn reverse proxy for WebSockets and HTTP/1.1.

  --listen 127.0.0.1:8080            the address to listen on
  --upstream host:port | unix:/path  a server to forward to (repeat)
  --relay id=host:port               a relay whose registry names the nodes (repeat); needs
                                     --secret-file
  --id lb-1                          this lb's name
  --reuse-port                       let several lbs listen on one port
  --cookie-name TUTTI                the sticky cookie; --no-cookie turns it off
  --cookie-key TEXT                  the key its values are derived from (default: the cluster
                                     secret, or random)
  --cookie-same-site Lax             Lax, Strict or None
  --cookie-secure                    mark it Secure (a TLS proxy stands in front)
  --tls-cert FILE --tls-key FILE     speak TLS with this certificate and key, in PEM (repeat both:
                                     chosen by name, else the first)
  --trust 10.0.0.0/8                 a proxy whose X-Forwarded-* fields are trusted (repeat)
  --proxy-protocol                   peers in --trust begin with a PROXY header (version 1 or 2),
                                     which names the client
  --check /healthz                   the path that nodes must answer with 200 (default: /healthz
                                     with --relay, else a connection is enough)
  --health-path /healthz             the path that the lb answers itself: 200 while a node is up,
                                     else 503; --no-health-path turns it off
  --access-log FILE                  a JSON line for each exchange and tunnel; "-": standard output
  --log-level info                   debug, info, warn, error or silent
${numberHelp}
`;

const string = { type: "string" } as const;
const flag = { type: "boolean" } as const;
const repeated = { type: "string", multiple: true } as const;
const numberOptions = Object.fromEntries(
  Object.keys(NUMBERS).map((name) => [flagOf(name).slice(2), string]),
);

/** The options in a command line; undefined when it only asks for help. Throws UsageError. */
export function parseOptions(args: readonly string[]): Options | undefined {
  const config = {
    args: [...args],
    options: {
      help: flag,
      id: string,
      listen: string,
      upstream: repeated,
      relay: repeated,
      "secret-file": string,
      "reuse-port": flag,
      "cookie-name": string,
      "no-cookie": flag,
      "cookie-key": string,
      "cookie-same-site": string,
      "cookie-secure": flag,
      "tls-cert": repeated,
      "tls-key": repeated,
      trust: repeated,
      "proxy-protocol": flag,
      check: string,
      "health-path": string,
      "no-health-path": flag,
      "access-log": string,
      "log-level": string,
      ...numberOptions,
    },
  } as const;
  const { values } = parseCommandLine(config, "bun run lb --help lists the flags.");
  if (values.help === true) return undefined;
  const source = parseSource(values.upstream ?? [], values.relay ?? [], values["secret-file"]);
  return {
    id: values.id ?? "lb-1",
    listen: parseTcpAddress(values.listen ?? "127.0.0.1:8080", "--listen"),
    reusePort: values["reuse-port"] === true,
    source,
    logLevel: parseLogLevel(values["log-level"] ?? "info"),
    cookie: values["no-cookie"] === true ? undefined : parseCookie(values),
    key: values["cookie-key"] ?? (source.kind === "relays" ? source.secret : undefined),
    trust: parseTrust(values.trust ?? []),
    certificates: parseCertificates(values["tls-cert"] ?? [], values["tls-key"] ?? []),
    proxyProtocol: parseProxyProtocol(values["proxy-protocol"] === true, values.trust ?? []),
    healthPath:
      values["no-health-path"] === true
        ? undefined
        : parsePath(values["health-path"] ?? HEALTH_PATH, "--health-path"),
    checkPath: parsePath(
      values.check ?? (source.kind === "relays" ? HEALTH_PATH : undefined),
      "--check",
    ),
    accessLog: values["access-log"],
    numbers: parseNumbers(values),
  };
}

function parseSource(
  upstreams: string[],
  relays: string[],
  secretFile: string | undefined,
): Source {
  if (upstreams.length > 0 && relays.length > 0)
    throw new UsageError("Nodes come from --upstream or from --relay: give one kind, not both.");
  if (relays.length > 0) {
    if (secretFile === undefined)
      throw new UsageError("--relay needs --secret-file FILE, the secret of the cluster.");
    return { kind: "relays", relays: parseRelays(relays), secret: readSecret(secretFile) };
  }
  if (upstreams.length === 0)
    throw new UsageError(
      "No server to forward to: name one with --upstream host:port, or a relay with --relay.",
    );
  const addresses = upstreams.map((text) => parseAddress(text, "--upstream"));
  const names = addresses.map(formatAddress);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new UsageError(`--upstream ${twice} is given twice.`);
  return { kind: "upstreams", upstreams: addresses };
}

function parseCertificates(certs: readonly string[], keys: readonly string[]): CertificateFiles[] {
  if (certs.length !== keys.length)
    throw new UsageError(
      "--tls-cert and --tls-key go in pairs: give each certificate its key, in the same order.",
    );
  return certs.map((cert, index) => ({ cert, key: keys[index] }));
}

function parseProxyProtocol(isWanted: boolean, trust: readonly string[]): boolean {
  if (isWanted && trust.length === 0)
    throw new UsageError(
      "--proxy-protocol needs --trust: " +
        "name the proxies that send a PROXY header, such as 10.0.0.0/8.",
    );
  return isWanted;
}

type CookieFlags = {
  "cookie-name"?: string;
  "cookie-same-site"?: string;
  "cookie-secure"?: boolean;
};

function parseCookie(flags: CookieFlags): CookiePolicy {
  const name = flags["cookie-name"] ?? "TUTTI";
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/.test(name))
    throw new UsageError(`--cookie-name "${name}" is not a name.`);
  const wanted = flags["cookie-same-site"] ?? "Lax";
  const sameSite = (["Lax", "Strict", "None"] as const).find(
    (known) => known.toLowerCase() === wanted.toLowerCase(),
  );
  if (sameSite === undefined)
    throw new UsageError(`--cookie-same-site "${wanted}" must be Lax, Strict or None.`);
  return { name, sameSite, secure: flags["cookie-secure"] === true || sameSite === "None" };
}

function parsePath(path: string | undefined, name: string): string | undefined {
  if (path === undefined || /^\/[!"$-~]*$/.test(path)) return path;
  throw new UsageError(`${name} "${path}" must be a path, such as /healthz.`);
}

const parseNumbers = (values: Record<string, unknown>): Numbers =>
  shapeFields(NUMBERS, (name) => values[flagOf(name).slice(2)]);
