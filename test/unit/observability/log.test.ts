import { expect, test } from "bun:test";
import { AppError } from "../../../src/core/errors.ts";
import type { LoggerOptions } from "../../../src/observability/log.ts";
import { createLogger } from "../../../src/observability/log.ts";

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

function capture(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const log = createLogger({
    level: "info",
    format: "json",
    component: "server",
    now: () => NOW,
    write: (line) => void lines.push(line),
    ...options,
  });
  return { log, lines };
}

test("createLogger() writes one JSON line with time, level, msg, component, then the fields", () => {
  const { log, lines } = capture();
  log.info("execution started", { execution_id: "12", count: 3n, skipped: undefined });
  expect(lines).toEqual([
    `{"time":"2026-01-02T03:04:05.678Z","level":"info","msg":"execution started","component":"server","execution_id":"12","count":"3"}\n`,
  ]);
});

test("createLogger() writes nothing below its level", () => {
  const { log, lines } = capture({ level: "warn" });
  log.debug("a");
  log.info("b");
  log.warn("c");
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual(["c"]);
  expect(log.isEnabled("info")).toBe(false);
  expect(log.isEnabled("error")).toBe(true);
});

test("child() adds its fields to every line and may rename the component", () => {
  const { log, lines } = capture();
  log.child({ component: "relay", pool: "gpu" }).child({ batch: 2 }).warn("slow");
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ component: "relay", pool: "gpu", batch: 2 });
});

test("createLogger() writes errors with their code and cause, and survives cyclic fields", () => {
  const { log, lines } = capture();
  const cause = new Error("refused");
  log.error("failed", { error: new AppError("unavailable", "BUS_DOWN", "no bus", { cause }) });
  const cyclic: Record<string, unknown> = {};
  cyclic["self"] = cyclic;
  log.error("odd", { cyclic });
  const [first, second] = lines.map((line) => JSON.parse(line));
  expect(first).toMatchObject({
    error: "no bus",
    error_name: "AppError",
    error_code: "BUS_DOWN",
    error_cause: "Error: refused",
  });
  expect(first.error_stack).toContain("log.test.ts");
  expect(second).toMatchObject({ msg: "odd", level: "error" });
  expect(second.log_error).toContain("cyclic");
});

test("names of fields are written in snake case", () => {
  const { log, lines } = capture();
  log.info("claimed", { executionId: "12", delay_ms: 3 });
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ execution_id: "12", delay_ms: 3 });
  const text = capture({ format: "text" });
  text.log.info("claimed", { executionId: "12", index: undefined });
  expect(text.lines).toEqual(["03:04:05.678 INFO  server  claimed execution_id=12\n"]);
});

test("lines are counted by level, children included", () => {
  const { log } = capture();
  log.child({ component: "relay" }).warn("slow");
  log.debug("not written");
  log.info("a");
  expect(log.written).toEqual({ debug: 0, info: 1, warn: 1, error: 0 });
});

test("the text form is one readable line", () => {
  const { log, lines } = capture({ format: "text" });
  log.info("listening", { url: "http://127.0.0.1:8082", note: "two words" });
  expect(lines).toEqual([
    `03:04:05.678 INFO  server  listening url=http://127.0.0.1:8082 note="two words"\n`,
  ]);
});
