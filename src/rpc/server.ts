/** The platform's gRPC end: worker and control service, standard health and reflection. */
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { sleep } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import type { Logger } from "../observability/log.ts";
import type { CallContext, RpcEvent } from "./call.ts";
import { CHANNEL_OPTIONS } from "./channel.ts";
import { createControlService } from "./control-service.ts";
import { HealthService } from "./generated/grpc/health/v1/health.ts";
import { ServerReflectionService } from "./generated/grpc/reflection/v1/reflection.ts";
import { ControlServiceService } from "./generated/noetl/v1/control.ts";
import { WorkerServiceService } from "./generated/noetl/v1/worker.ts";
import type { ControlHandlers, WorkerHandlers } from "./handlers.ts";
import { createHealth } from "./health.ts";
import { createReflection, ServerReflectionV1AlphaService } from "./reflection.ts";
import { createWorkerService } from "./worker-service.ts";

export interface RpcServerOptions {
  readonly worker: WorkerHandlers;
  readonly control: ControlHandlers;
  /** What workers must send; undefined: none. */
  readonly workerToken?: string | undefined;
  /** What clients of the control service must send; undefined: none. */
  readonly controlToken?: string | undefined;
  readonly tls?: ServerTls | undefined;
  readonly log: Logger;
  /** Facts for metrics. */
  readonly onCall?: ((event: RpcEvent) => void) | undefined;
}

export interface ServerTls {
  /** PEM texts. */
  readonly certificate: string;
  readonly key: string;
  /** Given: clients must show a certificate that this authority signed. */
  readonly clientAuthority?: string | undefined;
}

export interface RpcServer {
  /**
   * Listens; port 0 takes any. Resolves with the port.
   *
   * @throws AppError `unavailable`: `GRPC_LISTEN_FAILED`.
   */
  start(host: string, port: number): Promise<number>;
  /** Lets calls end that are running, but not streams; workers go to another server. */
  stop(): Promise<void>;
}

const SERVICES = ["noetl.v1.WorkerService", "noetl.v1.ControlService"] as const;
/** How long running calls may take to end. */
const STOP_WAIT_MS = 3000;

export async function createRpcServer(options: RpcServerOptions): Promise<RpcServer> {
  const server = new Server(CHANNEL_OPTIONS);
  const stopping = new AbortController();
  const health = createHealth(SERVICES);
  const reflection = await createReflection();
  server.addService(
    WorkerServiceService,
    createWorkerService(options.worker, contextOf(options, options.workerToken, stopping.signal)),
  );
  server.addService(
    ControlServiceService,
    createControlService(
      options.control,
      contextOf(options, options.controlToken, stopping.signal),
    ),
  );
  server.addService(HealthService, health.implementation);
  server.addService(ServerReflectionService, reflection);
  server.addService(ServerReflectionV1AlphaService, reflection);
  return {
    async start(host, port) {
      const bound = await bind(server, hostPort(host, port), credentials(options.tls));
      health.setServing(true);
      return bound;
    },
    async stop() {
      health.setServing(false);
      stopping.abort();
      health.close();
      const { promise, resolve } = Promise.withResolvers<void>();
      server.tryShutdown(() => resolve());
      await Promise.race([promise, sleep(STOP_WAIT_MS)]);
      server.forceShutdown();
    },
  };
}

function contextOf(
  { log, onCall = () => undefined }: RpcServerOptions,
  token: string | undefined,
  stopping: AbortSignal,
): CallContext {
  return { token, log, stopping, onCall };
}

function credentials(tls: ServerTls | undefined): ServerCredentials {
  if (tls === undefined) {
    return ServerCredentials.createInsecure();
  }
  const authority = tls.clientAuthority;
  return ServerCredentials.createSsl(
    authority === undefined ? null : Buffer.from(authority),
    [{ cert_chain: Buffer.from(tls.certificate), private_key: Buffer.from(tls.key) }],
    authority !== undefined,
  );
}

function hostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

async function bind(
  server: Server,
  address: string,
  serverCredentials: ServerCredentials,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync(address, serverCredentials, (error, port) => {
    if (error === null) {
      resolve(port);
    } else {
      const message = `Cannot listen for gRPC on ${address}: ${error.message}`;
      reject(new AppError("unavailable", "GRPC_LISTEN_FAILED", message, { cause: error }));
    }
  });
  return await promise;
}
