import { describe, expect, test } from "bun:test";
import type { Cursor } from "../../../src/dsl/playbook.ts";
import { documentOf, findings, stepOf } from "./document.ts";

const loopText = (cursor: string, frame: string): string =>
  `- {step: a, tool: {kind: noop}, loop: {iterator: row, cursor: ${cursor}, spec: {mode: cursor, frame: ${frame}}}}`;

function cursorOf(cursor: string, frame = "{}"): Cursor {
  const found = stepOf(loopText(cursor, frame)).loop?.cursor;
  if (found === undefined) {
    throw new Error("no cursor");
  }
  return found;
}

const SQL = "{kind: postgres, auth: db, claim: SELECT 1}";
const NATS = "{kind: nats, auth: bus, options: {stream: ORDERS, consumer: work}}";

describe("a SQL cursor", () => {
  test("claims with its statement, as a task of its kind", () => {
    const { claim, kind, renew, acknowledge } = cursorOf(SQL);
    expect(kind).toBe("postgres");
    expect(claim).toMatchObject({
      kind: "postgres",
      label: "claim",
      config: { auth: "db", command: "SELECT 1" },
      timeoutMs: 30_000,
      isIdempotent: true,
    });
    expect(renew ?? acknowledge).toBeUndefined();
  });

  test("has the frame settings of the public project by default", () => {
    const { kind: _k, claim: _c, ...limits } = cursorOf(SQL);
    expect(limits).toEqual({
      maxRows: 1,
      maxBytes: 64 * 1024 * 1024,
      rowConcurrency: 1,
      process: "row",
      leaseMs: 120_000,
      heartbeatMs: 30_000,
      maxAttempts: 3,
    });
  });

  test("takes all of them from the document", () => {
    const frame =
      "{max_rows: 50, max_seconds: 7, max_bytes: 1000, lease_seconds: 60, heartbeat_seconds: 20, row_concurrency: 4, max_attempts: 5, retry_mode: row}";
    const cursor = cursorOf("{auth: db, claim: SELECT 1, heartbeat: SELECT 2, pool: sql}", frame);
    expect(cursor).toMatchObject({
      maxRows: 50,
      maxBytes: 1000,
      rowConcurrency: 4,
      leaseMs: 60_000,
      heartbeatMs: 20_000,
      maxAttempts: 5,
      claim: { timeoutMs: 7000, pool: "sql", policy: { rules: [{ attempts: 5 }] } },
      renew: { kind: "postgres", config: { auth: "db", command: "SELECT 2" } },
    });
  });

  test("hands its options on to the tool", () => {
    expect(cursorOf("{claim: SELECT 1, options: {host: h, port: 1}}").claim.config).toEqual({
      host: "h",
      port: 1,
      command: "SELECT 1",
    });
  });
});

describe("a nats cursor", () => {
  test("pulls from a durable consumer and acknowledges later", () => {
    const { claim, renew, acknowledge } = cursorOf(NATS, "{max_rows: 20, lease_seconds: 45}");
    expect(claim.config).toMatchObject({
      operation: "js_consume",
      auth: "bus",
      stream: "ORDERS",
      consumer: "work",
      batch: "{{ __frame_max_rows }}",
      ack: "explicit",
      ack_wait: "{{ __frame_lease_seconds }}",
      max_deliver: 3,
    });
    expect(renew?.config).toMatchObject({ operation: "js_ack", ack: "progress" });
    expect(acknowledge?.config).toMatchObject({ operation: "js_ack", ack: "ack" });
    expect(acknowledge?.policy?.onUnmatched).toBe("continue");
  });

  test.each([
    ["{kind: nats_stream, options: {stream: S, consumer: c, batch: 7}}", 7],
    ["{kind: nats, claim: {stream: S, consumer: c}}", 1],
  ])("may be written %s", (text, maxRows) => {
    expect(cursorOf(text)).toMatchObject({ kind: "nats", maxRows, claim: { kind: "nats" } });
  });
});

const PLACE = "workflow[0].loop";

test.each([
  ["{kind: mysql, claim: SELECT 1}", "{}", [`CURSOR_KIND_UNKNOWN ${PLACE}.cursor.kind 5`]],
  ["{kind: redis, claim: x}", "{}", [`CURSOR_KIND_UNKNOWN ${PLACE}.cursor.kind 5`]],
  ["{kind: duckdb, claim: SELECT 1}", "{}", [`CURSOR_KIND_UNKNOWN ${PLACE}.cursor.kind 5`]],
  ["{auth: a}", "{}", [`CURSOR_INVALID ${PLACE}.cursor 5`]],
  ["{kind: nats, options: {stream: S}}", "{}", [`CURSOR_INVALID ${PLACE}.cursor 5`]],
  [
    NATS,
    "{lease_seconds: 10, heartbeat_seconds: 10}",
    [`CURSOR_INVALID ${PLACE}.spec.frame.heartbeat_seconds 5`],
  ],
  [
    SQL,
    "{max_rows: 0, process: all, retry_mode: never}",
    [
      `FIELD_NOT_INTEGER ${PLACE}.spec.frame.max_rows 5`,
      `CURSOR_INVALID ${PLACE}.spec.frame.process 5`,
      `CURSOR_INVALID ${PLACE}.spec.frame.retry_mode 5`,
    ],
  ],
])("the cursor %s with the frame %s is refused", (cursor, frame, expected) => {
  expect(findings(documentOf(loopText(cursor, frame)), "error")).toEqual(expected);
});

test.each([
  ["{row_concurrency: 2, process: frame}", [`FIELD_IGNORED ${PLACE}.spec.frame.row_concurrency 5`]],
  ["{heartbeat_seconds: 5}", [`FIELD_IGNORED ${PLACE}.spec.frame.heartbeat_seconds 5`]],
  ["{retry_mode: whole_frame}", [`FIELD_IGNORED ${PLACE}.spec.frame.retry_mode 5`]],
  ["{retry_mode: row, process: frame}", [`FIELD_IGNORED ${PLACE}.spec.frame.retry_mode 5`]],
  ["{verify_ipc: true}", [`FIELD_IGNORED ${PLACE}.spec.frame.verify_ipc 5`]],
  ["{max_seconds: 30, max_bytes: 67108864, lease_seconds: 120, heartbeat_seconds: 30}", []],
])("the frame %s of a SQL cursor gets the warnings it deserves", (frame, expected) => {
  expect(findings(documentOf(loopText(SQL, frame)), "warning")).toEqual(expected);
});
