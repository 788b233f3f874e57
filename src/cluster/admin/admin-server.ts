// The admin API of a running cluster: HTTP and JSON over the unix socket in its data folder, which
// only its owner may open. GET /status; POST /scale {nodes}, /drain {id}, /undrain {id},
// /restart {id?}, /stop. Responds with {message}, or {error}: a sentence.

import { chmodSync } from "node:fs";
import { integer, Malformed, object, optional, type Shape, text } from "../../wire/shape";
import { Refusal } from "../files/refusal";
import { NODES_MAX } from "../settings/config";
import type { Supervisor } from "../supervision/supervisor";

const scaleBody = object({ nodes: integer(1, NODES_MAX) });
const idBody = object({ id: text(1, 64) });
const restartBody = object({ id: optional(text(1, 64)) });

/** Serves until the process exits. `onStop` is called for POST /stop. */
export function serveAdmin(socketPath: string, supervisor: Supervisor, onStop: () => void): void {
  Bun.serve({
    unix: socketPath,
    development: false,
    maxRequestBodySize: 4096,
    routes: {
      "/status": { GET: async () => Response.json(await supervisor.status()) },
      "/scale": { POST: act(scaleBody, ({ nodes }) => supervisor.scale(nodes)) },
      "/drain": { POST: act(idBody, ({ id }) => supervisor.drain(id)) },
      "/undrain": { POST: act(idBody, ({ id }) => supervisor.undrain(id)) },
      "/restart": { POST: act(restartBody, ({ id }) => supervisor.restart(id)) },
      "/stop": { POST: (request, server) => stop(request, server, onStop) },
    },
    fetch: () => Response.json({ error: "There is no such command." }, { status: 404 }),
  });
  chmodSync(socketPath, 0o600);
}

type AdminServer = Bun.Server<undefined>;
type Route = (request: Request, server: AdminServer) => Promise<Response>;

/** Operations wait for nodes to drain; Bun would close the connection after 10 s. */
const untilDone = (request: Request, server: AdminServer): void => server.timeout(request, 0);

function act<T>(body: Shape<T>, operation: (asked: T) => Promise<string>): Route {
  return async (request, server) => {
    untilDone(request, server);
    try {
      const asked = body(await request.json(), "body");
      return Response.json({ message: await operation(asked) });
    } catch (error) {
      if (error instanceof Refusal) return Response.json({ error: error.message }, { status: 409 });
      if (error instanceof Malformed || error instanceof SyntaxError)
        return Response.json({ error: error.message }, { status: 400 });
      throw error;
    }
  };
}

/** A response that ends when this process exits: the client then knows that the cluster is gone. */
function stop(request: Request, server: AdminServer, onStop: () => void): Response {
  untilDone(request, server);
  onStop();
  return new Response(
    new ReadableStream({ start: (controller) => controller.enqueue("stopping\n") }),
  );
}
