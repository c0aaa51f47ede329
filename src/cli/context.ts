/** What every command gets: where it writes, when it must stop, and its environment. */
import type { Environment } from "../config/read.ts";

export interface CliContext {
  readonly env: Environment;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** Text for people or JSON for programs; what the command was asked for. */
  readonly out: (text: string) => void;
  /** Progress and remarks. */
  readonly note: (text: string) => void;
  /** Standard output is a terminal: lines may be drawn over. */
  readonly isTerminal: boolean;
}

/** How a command ended; main.ts has the numbers. */
export type ExitReason =
  /** Done, stopped as asked, or the playbook completed. */
  | "ok"
  /** The playbook failed or was cancelled, a check found something, or an unexpected error. */
  | "failed"
  /** Wrong usage or configuration; nothing was started. */
  | "usage"
  /** The database was made by a newer version. */
  | "database_newer"
  /** The server could not be reached; of `health`: something without which nothing runs is down. */
  | "unreachable";

/** An unfit argument or flag, as a message of one line. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
