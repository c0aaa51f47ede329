import type { Failure } from "../../engine/failure.ts";
import { TaskError } from "../task-error.ts";

export type Side = "source" | "target";

/** The failure of one end of a transfer, which its message names. */
export function sideError(side: Side, failure: Failure): TaskError {
  const isNamed = failure.message.startsWith(`${side}: `);
  return new TaskError(isNamed ? failure : { ...failure, message: `${side}: ${failure.message}` });
}

/** Does the work; its failure says which end of the transfer it comes from. */
export async function atSide<T>(side: Side, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof TaskError ? sideError(side, error.failure) : error;
  }
}
