// Starts the load balancers that are compared: tutti's lb, haproxy and nginx, each with one thread,
// leastconn and the settings that its documentation recommends for WebSockets.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, type Program, startOnPort, temporaryFolder } from "./processes.ts";

export type LoadBalancer = Program & { readonly name: string; readonly port: number };
/** host:port, or unix:/path. */
type Upstreams = readonly string[];

/** Tunnels for one process with 20,000 file descriptors, two for each tunnel. */
const TUNNELS_MAX = 9500;

async function untilReady(name: string, port: number, program: Program): Promise<LoadBalancer> {
  for (;;) {
    const status = await fetch(`http://127.0.0.1:${port}/`).then(
      ({ status }) => status,
      () => 0,
    );
    if (status > 0 && status !== 502 && status !== 503) return { name, port, ...program };
    await Bun.sleep(50);
  }
}

/** The lb as the supervisor starts it, but with explicit upstreams. */
export async function tuttiLb(upstreams: Upstreams, name: string): Promise<LoadBalancer> {
  const port = await freePort();
  const main = join(import.meta.dir, "../src/lb/main.ts");
  const flags = upstreams.flatMap((upstream) => ["--upstream", upstream]);
  const argv = [
    process.execPath,
    "--no-orphans",
    main,
    "--listen",
    `127.0.0.1:${port}`,
    "--log-level",
    "warn",
    ...flags,
  ];
  return untilReady(name, port, await startOnPort(argv, port));
}

export async function haproxy(
  upstreams: Upstreams,
  name = "haproxy",
): Promise<LoadBalancer | undefined> {
  if (Bun.which("haproxy") === null) return undefined;
  const port = await freePort();
  const servers = upstreams.map(
    (upstream, index) =>
      `  server s${index} ${upstream.replace(/^unix:/, "unix@")} check cookie s${index}`,
  );
  const config = `
global
  nbthread 1
  maxconn ${TUNNELS_MAX}
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
  option forwardfor
  option redispatch 1
  default-server inter 1s fall 2 rise 2
frontend clients
  bind 127.0.0.1:${port}
  default_backend servers
backend servers
  balance leastconn
  cookie SERVER insert indirect nocache
${servers.join("\n")}
`;
  return untilReady(
    name,
    port,
    await startOnPort(["haproxy", "-db", "-q", "-f", written("haproxy.cfg", config)], port),
  );
}

export async function nginx(
  upstreams: Upstreams,
  name = "nginx",
): Promise<LoadBalancer | undefined> {
  if (Bun.which("nginx") === null) return undefined;
  const port = await freePort();
  const folder = temporaryFolder();
  const servers = upstreams.map((upstream) => `    server ${upstream};`);
  const config = `
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections ${4 * TUNNELS_MAX}; }
http {
  access_log off;
  client_body_temp_path ${folder};
  proxy_temp_path ${folder};
  fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder};
  scgi_temp_path ${folder};
  keepalive_requests 1000000;
  map $http_upgrade $connection_field { default upgrade; "" ""; }
  upstream servers {
    least_conn;
${servers.join("\n")}
    keepalive 128;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_field;
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
    }
  }
}
`;
  const argv = ["nginx", "-p", folder, "-c", written("nginx.conf", config), "-g", "daemon off;"];
  return untilReady(name, port, await startOnPort(argv, port));
}

function written(name: string, text: string): string {
  const file = join(temporaryFolder(), name);
  writeFileSync(file, text);
  return file;
}
