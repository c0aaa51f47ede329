import type { ChildLog } from "../../src/embedded/child.ts";

/** A log for parts whose lines a test does not look at. */
export const SILENT_LOG: ChildLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
