/** What the files that add commands to the program share. */
import type { OptionTable, Values } from "../config/option.ts";
import { readOptions } from "../config/read.ts";
import { clientOptions } from "../config/tables.ts";
import { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { chooseServer } from "./contexts.ts";

/** Takes how the command ended. */
export type Finish = (reason: ExitReason) => void;

/** The options of a command, read from its flags and the environment. */
export function read<Table extends OptionTable>(
  context: CliContext,
  table: Table,
  flags: object,
): Values<Table> {
  return readOptions(table, { flags: { ...flags }, env: context.env });
}

/** The server that the flags, the environment or the context in use name. */
export function apiOf(context: CliContext, flags: object): Api {
  const { token, ...server } = serverOf(context, flags);
  return new Api({ ...server, token: token?.reveal(), signal: context.signal });
}

export function serverOf(context: CliContext, flags: object): ReturnType<typeof chooseServer> {
  const values = read(context, clientOptions, flags);
  const isContextFlag = "context" in flags && flags.context !== undefined;
  return chooseServer(values, context.env, isContextFlag);
}

/** The name that is meant, also in the singular. @throws UsageError. */
export function oneOf<const T extends string>(names: readonly T[], given: string): T {
  const found = names.find((name) => name === given || name === `${given}s`);
  if (found === undefined) {
    throw new UsageError(`must be one of ${names.join(", ")}, not ${given}`);
  }
  return found;
}
