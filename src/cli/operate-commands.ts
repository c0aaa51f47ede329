/** `signal`, `retry`, `rerun`: what people do with executions that wait or have ended. */
import { errorMessage } from "../core/errors.ts";
import type { Json } from "../core/json.ts";
import { parseJson } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { JsonFlag } from "./catalog-commands.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { field, formatJson } from "./format.ts";
import type { PayloadFlags } from "./payload.ts";
import { readPayload, readText } from "./payload.ts";
import { followExecution } from "./watch.ts";

export interface SignalFlags extends JsonFlag {
  /** Any JSON. */
  readonly payload?: string | undefined;
  readonly file?: string | undefined;
  readonly dedupKey?: string | undefined;
  readonly broadcast?: boolean | undefined;
  readonly sender?: string | undefined;
}

/** Sends a signal to a waiting execution. */
export async function signal(
  { out }: CliContext,
  api: Api,
  { id, name }: { readonly id: string; readonly name: string },
  flags: SignalFlags,
): Promise<ExitReason> {
  const path = `/api/executions/${encodeURIComponent(id)}/signals/${encodeURIComponent(name)}`;
  const answer = await api.postObject(path, {
    payload: await readAnyPayload(flags),
    dedup_key: flags.dedupKey ?? null,
    broadcast: flags.broadcast ?? false,
    sender: flags.sender ?? null,
  });
  out(flags.json === true ? formatJson(answer) : signalText(name, answer));
  return "ok";
}

function signalText(name: string, answer: { readonly [key: string]: Json }): string {
  switch (field(answer, "status")) {
    case "kept":
      return `Signal ${name} is kept: no step waits for it yet`;
    case "duplicate":
      return `Signal ${name} with this key has come before: nothing happens`;
    default:
      return `Signal ${name} delivered (waits ended: ${field(answer, "waits")})`;
  }
}

/** Null when neither is given. @throws UsageError. */
async function readAnyPayload({ payload, file }: SignalFlags): Promise<Json> {
  if (payload !== undefined && file !== undefined) {
    throw new UsageError("give the payload by --payload or by --file, not by both");
  }
  const name = file === undefined ? "--payload" : file;
  const text = file === undefined ? (payload ?? "null") : await readText(file);
  try {
    return parseJson(text);
  } catch (error) {
    throw new UsageError(`${name} must be JSON: ${errorMessage(error)}`, { cause: error });
  }
}

export interface RetryFlags extends JsonFlag {
  readonly step?: readonly string[] | undefined;
  /** Continues in a new execution. */
  readonly new?: boolean | undefined;
  readonly reason?: string | undefined;
  readonly wait?: boolean | undefined;
}

/** Continues a failed or cancelled execution. */
export async function retry(
  context: CliContext,
  api: Api,
  id: string,
  flags: RetryFlags,
): Promise<ExitReason> {
  const answer = await api.postObject(`/api/executions/${id}/retry`, {
    new_execution: flags.new ?? false,
    steps: flags.step === undefined ? null : [...flags.step],
    reason: flags.reason ?? null,
  });
  const next = field(answer, "execution_id");
  if (flags.wait === true) {
    return await followExecution(context, api, next, flags);
  }
  const text = next === id ? `Execution ${id} goes on` : `Execution ${next} goes on for ${id}`;
  context.out(flags.json === true ? formatJson(answer) : text);
  return "ok";
}

export interface RerunFlags extends PayloadFlags, JsonFlag {
  readonly dedupKey?: string | undefined;
  readonly wait?: boolean | undefined;
}

/** Starts the same playbook over. */
export async function rerun(
  context: CliContext,
  api: Api,
  id: string,
  flags: RerunFlags,
): Promise<ExitReason> {
  const answer = await api.postObject(`/api/executions/${id}/rerun`, {
    payload: await readPayload(flags),
    ...(flags.dedupKey === undefined ? {} : { dedup: { key: flags.dedupKey } }),
  });
  const next = field(answer, "execution_id");
  if (flags.wait === true) {
    return await followExecution(context, api, next, flags);
  }
  const text = `Execution ${next} ${field(answer, "status")}, a rerun of ${id}`;
  context.out(flags.json === true ? formatJson(answer) : text);
  return "ok";
}
