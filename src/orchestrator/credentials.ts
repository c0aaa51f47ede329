/** Credentials: handed out in the open only to the worker that runs a command. */
import { AppError } from "../core/errors.ts";
import type { WorkerId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import type { HeldCommand } from "../engine/command.ts";
import { openCredential } from "../secrets/credential.ts";
import { isHeld } from "../store/command.ts";
import { findCredential } from "../store/credential.ts";
import { databaseError } from "../store/sqlstate.ts";
import type { OrchestratorOptions } from "./options.ts";

export interface ResolvedCredential {
  readonly name: string;
  /** `postgres`, `bearer`, `basic`, `api_key`, … */
  readonly type: string;
  readonly data: JsonObject;
}

/**
 * A worker may open any credential while it holds a command: the name may come from a template that
 * only the worker has rendered, so the server cannot know which ones the command needs.
 *
 * @throws AppError forbidden COMMAND_NOT_HELD, not_found CREDENTIAL_NOT_FOUND
 */
export async function resolveCredential(
  { store, secrets, metrics }: Pick<OrchestratorOptions, "store" | "secrets" | "metrics">,
  workerId: WorkerId,
  { held, name }: { readonly held: HeldCommand; readonly name: string },
): Promise<ResolvedCredential> {
  try {
    if (!(await isHeld(store.durable, workerId, held))) {
      metrics.fenceRefusals.inc("credential");
      const message = `Worker ${workerId} does not hold command ${held.commandId}`;
      throw new AppError("forbidden", "COMMAND_NOT_HELD", message);
    }
    const row = await findCredential(store.durable, name);
    if (row === undefined) {
      throw new AppError("not_found", "CREDENTIAL_NOT_FOUND", `There is no credential ${name}`);
    }
    return { name: row.name, type: row.type, data: openCredential(secrets, row) };
  } catch (error) {
    throw databaseError(error);
  }
}
