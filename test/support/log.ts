import type { ChildLog } from "../../src/embedded/child.ts";
import { createLogger } from "../../src/observability/log.ts";

/** A log for parts whose lines a test does not look at. */
export const SILENT_LOG: ChildLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

export const SILENT_LOGGER = createLogger({
  level: "error",
  format: "json",
  component: "test",
  write: () => undefined,
});
