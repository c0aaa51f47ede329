/** The logger of a role. */
import type { Values } from "../config/option.ts";
import type { logOptions } from "../config/tables.ts";
import type { Logger } from "../observability/log.ts";
import { createLogger } from "../observability/log.ts";

/** Lines go to standard output unless `write` is given. */
export function openLogger(
  component: string,
  { logLevel, logFormat }: Values<typeof logOptions>,
  write?: (line: string) => void,
): Logger {
  const isTerminal = write === undefined && process.stdout.isTTY === true;
  const automatic = isTerminal ? "text" : "json";
  return createLogger({
    level: logLevel,
    format: logFormat === "auto" ? automatic : logFormat,
    component,
    hasColor: isTerminal,
    ...(write === undefined ? {} : { write }),
  });
}
