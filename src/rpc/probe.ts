/** One question to the standard health service of a server. */
import type { ServiceError } from "@grpc/grpc-js";
import { status as grpcStatus, Metadata } from "@grpc/grpc-js";
import type { HealthCheckResponse } from "./generated/grpc/health/v1/health.ts";
import {
  HealthClient,
  HealthCheckResponse_ServingStatus as Serving,
} from "./generated/grpc/health/v1/health.ts";
import type { ClientTls } from "./tls.ts";
import { channelCredentials } from "./tls.ts";

export interface ProbeOptions {
  /** `host:port`. */
  readonly address: string;
  /** Undefined: without TLS. */
  readonly tls?: ClientTls | undefined;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export type ProbeAnswer =
  | { readonly status: "serving" | "not_serving" }
  /** The address answers gRPC, and has no such service. */
  | { readonly status: "not_ours"; readonly reason: string }
  | { readonly status: "unreachable"; readonly reason: string };

/** A channel of its own each time: what another one knows of the address is not what is asked here. */
const CLIENT_OPTIONS = { "grpc.enable_retries": 0, "grpc.use_local_subchannel_pool": 1 };
const SERVICE = "noetl.v1.WorkerService";

/** Whether the workers' service is served there. Never rejects. */
export async function probeServer(options: ProbeOptions): Promise<ProbeAnswer> {
  const { address, tls, timeoutMs, signal } = options;
  const client = new HealthClient(address, channelCredentials(tls), CLIENT_OPTIONS);
  const { promise, resolve } = Promise.withResolvers<ProbeAnswer>();
  const close = (): void => client.close();
  signal.addEventListener("abort", close, { once: true });
  client.check(
    { service: SERVICE },
    new Metadata(),
    { deadline: Date.now() + timeoutMs },
    (error: ServiceError | null, response: HealthCheckResponse) => {
      resolve(error === null ? answerOf(response) : failureOf(error));
    },
  );
  return await promise.finally(() => {
    signal.removeEventListener("abort", close);
    client.close();
  });
}

function answerOf({ status }: HealthCheckResponse): ProbeAnswer {
  return { status: status === Serving.SERVING ? "serving" : "not_serving" };
}

function failureOf({ code, details }: ServiceError): ProbeAnswer {
  const isAnswer = code === grpcStatus.NOT_FOUND || code === grpcStatus.UNIMPLEMENTED;
  return { status: isAnswer ? "not_ours" : "unreachable", reason: details };
}
