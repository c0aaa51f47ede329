import { describe, expect, test } from "bun:test";
import type { ServiceError } from "@grpc/grpc-js";
import { Metadata, status } from "@grpc/grpc-js";
import type { ErrorKind } from "../../../src/core/errors.ts";
import { AppError } from "../../../src/core/errors.ts";
import { fromServiceError, toStatus } from "../../../src/rpc/status.ts";

const KINDS: readonly ErrorKind[] = [
  "invalid",
  "not_found",
  "conflict",
  "forbidden",
  "unavailable",
  "timeout",
  "internal",
];

function received(error: unknown): ServiceError {
  const { code = status.UNKNOWN, details = "", metadata = new Metadata() } = toStatus(error);
  return Object.assign(new Error(details), { code, details, metadata });
}

describe("status", () => {
  test("kind and code of an error survive the way", () => {
    for (const kind of KINDS) {
      const error = fromServiceError(received(new AppError(kind, "SOME_CODE", "text")));
      expect(error).toMatchObject({ kind, code: "SOME_CODE" });
    }
  });

  test("bugs and internal errors show no message", () => {
    const errors = [new Error("secret"), new AppError("internal", "X", "secret"), "secret"];
    expect(errors.map((error) => toStatus(error).details)).toEqual([
      "internal error",
      "internal error",
      "internal error",
    ]);
  });

  test("statuses of others become kinds", () => {
    const error = Object.assign(new Error("13 x"), {
      code: status.RESOURCE_EXHAUSTED,
      details: "too large",
      metadata: new Metadata(),
    });
    expect(fromServiceError(error)).toMatchObject({ kind: "invalid", code: "RESOURCE_EXHAUSTED" });
  });
});
