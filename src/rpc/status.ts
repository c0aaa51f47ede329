/** The one place where our errors become gRPC statuses and back. */
import type { ServiceError, StatusObject } from "@grpc/grpc-js";
import { status as grpcStatus, Metadata } from "@grpc/grpc-js";
import type { ErrorKind } from "../core/errors.ts";
import { AppError } from "../core/errors.ts";
import type { WorkError } from "./generated/noetl/v1/worker.ts";
import { tlsHint } from "./tls.ts";

const STATUS_OF_KIND = {
  invalid: grpcStatus.INVALID_ARGUMENT,
  not_found: grpcStatus.NOT_FOUND,
  conflict: grpcStatus.FAILED_PRECONDITION,
  forbidden: grpcStatus.PERMISSION_DENIED,
  unavailable: grpcStatus.UNAVAILABLE,
  timeout: grpcStatus.DEADLINE_EXCEEDED,
  internal: grpcStatus.INTERNAL,
} satisfies Record<ErrorKind, grpcStatus>;

/** Statuses that servers other than ours, proxies and the client itself may give. */
const KIND_OF_STATUS: Readonly<Partial<Record<grpcStatus, ErrorKind>>> = {
  [grpcStatus.INVALID_ARGUMENT]: "invalid",
  [grpcStatus.OUT_OF_RANGE]: "invalid",
  [grpcStatus.RESOURCE_EXHAUSTED]: "invalid",
  [grpcStatus.UNIMPLEMENTED]: "invalid",
  [grpcStatus.NOT_FOUND]: "not_found",
  [grpcStatus.ALREADY_EXISTS]: "conflict",
  [grpcStatus.FAILED_PRECONDITION]: "conflict",
  [grpcStatus.PERMISSION_DENIED]: "forbidden",
  [grpcStatus.UNAUTHENTICATED]: "forbidden",
  [grpcStatus.UNAVAILABLE]: "unavailable",
  [grpcStatus.ABORTED]: "unavailable",
  [grpcStatus.CANCELLED]: "unavailable",
  [grpcStatus.DEADLINE_EXCEEDED]: "timeout",
};

/** Metadata key of an error's stable code. */
const CODE_KEY = "noetl-error-code";
const UNAUTHENTICATED = "UNAUTHENTICATED";

/** What a handler threw, as the caller may see it: a bug shows no message. */
export function toStatus(error: unknown): Partial<StatusObject> {
  if (!(error instanceof AppError)) {
    return {
      code: grpcStatus.INTERNAL,
      details: "internal error",
      metadata: codeMetadata("INTERNAL"),
    };
  }
  const isHidden = error.kind === "internal";
  return {
    code: error.code === UNAUTHENTICATED ? grpcStatus.UNAUTHENTICATED : STATUS_OF_KIND[error.kind],
    details: isHidden ? "internal error" : error.message,
    metadata: codeMetadata(error.code),
  };
}

function codeMetadata(code: string): Metadata {
  const metadata = new Metadata();
  metadata.set(CODE_KEY, code);
  return metadata;
}

/** What a call failed with, as the thrower meant it. */
export function fromServiceError(error: ServiceError): AppError {
  const [code] = error.metadata?.get(CODE_KEY) ?? [];
  return new AppError(
    KIND_OF_STATUS[error.code] ?? "internal",
    typeof code === "string" ? code : (grpcStatus[error.code] ?? "UNKNOWN"),
    messageOf(error),
    { cause: error },
  );
}

function messageOf({ code, details, message }: ServiceError): string {
  const text = details || message;
  const hint = code === grpcStatus.UNAVAILABLE ? tlsHint(text) : undefined;
  return hint === undefined ? text : `TLS: ${hint} (${text})`;
}

/** The same for a request on the work stream. */
export function fromWorkError({ status, code, message }: WorkError): AppError {
  return new AppError(KIND_OF_STATUS[status as grpcStatus] ?? "internal", code, message);
}

export function unauthenticated(message: string): AppError {
  return new AppError("forbidden", UNAUTHENTICATED, message);
}
