/** The standard health service: the whole server under "", each of our services by its name. */
import type { ServerWritableStream } from "@grpc/grpc-js";
import { status as grpcStatus, Metadata } from "@grpc/grpc-js";
import type {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthServer,
} from "./generated/grpc/health/v1/health.ts";
import { HealthCheckResponse_ServingStatus as Serving } from "./generated/grpc/health/v1/health.ts";

export interface Health {
  readonly implementation: HealthServer;
  /** Tells all who watch. */
  setServing(isServing: boolean): void;
  /** Ends what watches. */
  close(): void;
}

type Watcher = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

export function createHealth(serviceNames: readonly string[]): Health {
  const known = new Set(["", ...serviceNames]);
  const watchers = new Set<Watcher>();
  let current: Serving = Serving.NOT_SERVING;

  const implementation: HealthServer = {
    check(call, callback) {
      if (known.has(call.request.service)) {
        callback(null, { status: current });
      } else {
        const details = `Unknown service "${call.request.service}"`;
        callback({ code: grpcStatus.NOT_FOUND, details, metadata: new Metadata() });
      }
    },
    watch(call) {
      if (!known.has(call.request.service)) {
        call.write({ status: Serving.SERVICE_UNKNOWN });
        return;
      }
      call.write({ status: current });
      watchers.add(call);
      call.on("cancelled", () => watchers.delete(call));
    },
  };
  return {
    implementation,
    setServing(isServing) {
      current = isServing ? Serving.SERVING : Serving.NOT_SERVING;
      for (const watcher of watchers) {
        watcher.write({ status: current });
      }
    },
    close() {
      for (const watcher of watchers) {
        watcher.end();
      }
    },
  };
}
