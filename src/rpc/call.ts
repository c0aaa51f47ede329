/** What every method has in common: access, errors to statuses, and one fact per call. */
import type {
  handleUnaryCall,
  Metadata,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
} from "@grpc/grpc-js";
import { AppError, errorMessage } from "../core/errors.ts";
import type { Logger } from "../observability/log.ts";
import { toStatus, unauthenticated } from "./status.ts";

/** One call that ended. */
export interface RpcEvent {
  /** Method name, one of the services'. */
  readonly method: string;
  /** `ok`, or the kind of the error. */
  readonly outcome: string;
  readonly seconds: number;
}

export interface CallContext {
  /** The token that callers must send as `authorization: Bearer …`; undefined: none. */
  readonly token: string | undefined;
  readonly log: Logger;
  /** Aborted when the server stops: open streams end. */
  readonly stopping: AbortSignal;
  readonly onCall: (event: RpcEvent) => void;
}

type AnyCall =
  | ServerUnaryCall<unknown, unknown>
  | ServerReadableStream<unknown, unknown>
  | ServerWritableStream<unknown, unknown>
  | ServerDuplexStream<unknown, unknown>;

/** A method with one request and one response. */
export function unary<Request, Response>(
  context: CallContext,
  method: string,
  run: (request: Request, metadata: Metadata) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    void guard(context, method, call.metadata, () => run(call.request, call.metadata)).then(
      (response) => callback(null, response),
      (error: unknown) => callback(toStatus(error)),
    );
  };
}

/** A method with a stream in either direction: `run` writes; an error ends the call with its status. */
export function streaming<Call extends AnyCall>(
  context: CallContext,
  method: string,
  run: (call: Call) => Promise<void>,
): (call: Call) => void {
  return (call) => {
    guard(context, method, call.metadata, () => run(call)).catch((error: unknown) =>
      call.emit("error", toStatus(error)),
    );
  };
}

/** Checks the caller, runs, counts. @throws what `run` throws, or `forbidden`. */
export async function guard<T>(
  context: CallContext,
  method: string,
  metadata: Metadata,
  run: () => Promise<T>,
): Promise<T> {
  const startMs = performance.now();
  let outcome = "ok";
  try {
    checkToken(context.token, metadata);
    return await run();
  } catch (error) {
    outcome = error instanceof AppError ? error.kind : "internal";
    if (outcome === "internal") {
      context.log.error("A gRPC method failed", { method, error: errorMessage(error) });
    }
    throw error;
  } finally {
    context.onCall({ method, outcome, seconds: (performance.now() - startMs) / 1000 });
  }
}

function checkToken(token: string | undefined, metadata: Metadata): void {
  if (token === undefined) {
    return;
  }
  const [header] = metadata.get("authorization");
  if (typeof header !== "string" || !equalsSecret(header, `Bearer ${token}`)) {
    throw unauthenticated("A valid token is needed in authorization: Bearer …");
  }
}

/** Compares digests, so that the time taken says nothing about the text. */
function equalsSecret(given: string, wanted: string): boolean {
  const digest = (text: string): string =>
    new Bun.CryptoHasher("sha256").update(text).digest("hex");
  return digest(given) === digest(wanted);
}
