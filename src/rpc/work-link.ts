/**
 * The server's end of a worker's stream of claims, reports, permits and log lines. Requests are handled side
 * by side, as single calls would be; an answer goes out as soon as it is there. A request that fails
 * is answered with its error and leaves the stream open.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { status as grpcStatus } from "@grpc/grpc-js";
import { AppError } from "../core/errors.ts";
import type { CallContext } from "./call.ts";
import { guard } from "./call.ts";
import type * as wire from "./generated/noetl/v1/worker.ts";
import { toStatus } from "./status.ts";

export type WorkCall = ServerDuplexStream<wire.WorkRequest, wire.WorkResponse>;

/** The methods of the worker service that the stream can carry. */
export interface WorkMethods {
  readonly claim: (request: wire.ClaimRequest) => Promise<wire.ClaimResponse>;
  readonly report: (request: wire.ReportRequest) => Promise<wire.ReportResponse>;
  readonly acquirePermits: (
    request: wire.AcquirePermitsRequest,
  ) => Promise<wire.AcquirePermitsResponse>;
  readonly appendLogs: (request: wire.AppendLogsRequest) => Promise<wire.AppendLogsResponse>;
}

/** Resolves when the worker ends the stream, is gone, or the server stops. */
export async function serveWork(
  call: WorkCall,
  methods: WorkMethods,
  context: CallContext,
): Promise<void> {
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  let isOpen = true;
  for (const event of ["end", "cancelled", "error"]) {
    call.on(event, () => close());
  }
  const stop = (): void => close();
  context.stopping.addEventListener("abort", stop, { once: true });
  call.on("data", (request: wire.WorkRequest) => {
    void respond(call, methods, context, request).then((response) => {
      if (isOpen) {
        call.write({ requestId: request.requestId, response });
      }
    });
  });
  await closed;
  context.stopping.removeEventListener("abort", stop);
  isOpen = false;
  call.end();
}

/** Never rejects. */
async function respond(
  call: WorkCall,
  methods: WorkMethods,
  context: CallContext,
  { request }: wire.WorkRequest,
): Promise<wire.WorkResponse["response"]> {
  const name = request === undefined ? "Unknown" : METHOD_NAMES[request.$case];
  try {
    return await guard(context, name, call.metadata, () => dispatch(methods, request));
  } catch (error) {
    return { $case: "error", value: toWorkError(error) };
  }
}

const METHOD_NAMES = {
  claim: "Claim",
  report: "Report",
  acquirePermits: "AcquirePermits",
  appendLogs: "AppendLogs",
} as const;

async function dispatch(
  methods: WorkMethods,
  request: wire.WorkRequest["request"],
): Promise<wire.WorkResponse["response"]> {
  switch (request?.$case) {
    case "claim":
      return { $case: "claim", value: await methods.claim(request.value) };
    case "report":
      return { $case: "report", value: await methods.report(request.value) };
    case "acquirePermits":
      return { $case: "acquirePermits", value: await methods.acquirePermits(request.value) };
    case "appendLogs":
      return { $case: "appendLogs", value: await methods.appendLogs(request.value) };
    default:
      throw new AppError("invalid", "REQUEST_UNKNOWN", "This server does not know the request");
  }
}

function toWorkError(error: unknown): wire.WorkError {
  const { code, details } = toStatus(error);
  return {
    status: code ?? grpcStatus.INTERNAL,
    code: error instanceof AppError ? error.code : "INTERNAL",
    message: details ?? "",
  };
}
