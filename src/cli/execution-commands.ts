/** `exec`, `status`, `logs`, `cancel`: executions on a server. */
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { JsonFlag } from "./catalog-commands.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { field, formatDuration, formatJson, formatTable, rowsOf } from "./format.ts";
import type { PayloadFlags } from "./payload.ts";
import { readPayload } from "./payload.ts";
import { commandReasons, holderLines } from "./reasons.ts";
import { followExecution } from "./watch.ts";

export interface ExecFlags extends PayloadFlags, JsonFlag {
  readonly version?: string | undefined;
  readonly executionPool?: string | undefined;
  readonly dedupKey?: string | undefined;
  readonly priority?: string | undefined;
  /** Follows the execution to its end and ends like it. */
  readonly wait?: boolean | undefined;
}

/** Starts a registered playbook. */
export async function exec(
  context: CliContext,
  api: Api,
  path: string,
  flags: ExecFlags,
): Promise<ExitReason> {
  const started = await api.postObject("/api/execute", {
    path,
    payload: await readPayload(flags),
    version: flags.version ?? null,
    execution_pool: flags.executionPool ?? null,
    priority: readPriority(flags.priority),
    ...(flags.dedupKey === undefined ? {} : { dedup: { key: flags.dedupKey } }),
  });
  const id = field(started, "execution_id");
  if (started["status"] === "queued" && flags.json !== true && flags.wait !== true) {
    const execution = await api.getObject(`/api/executions/${id}/status`);
    context.note(`Execution ${id} ${field(execution, "waiting_reason")}`.trimEnd());
  }
  if (flags.wait === true) {
    return await followExecution(context, api, id, flags);
  }
  context.out(
    flags.json === true ? formatJson(started) : `Execution ${id} ${field(started, "status")}`,
  );
  return "ok";
}

function readPriority(text: string | undefined): number | null {
  const priority = Number(text);
  if (text === undefined || (Number.isInteger(priority) && priority >= 0 && priority <= 9)) {
    return text === undefined ? null : priority;
  }
  throw new UsageError(`--priority must be 0 (last) to 9 (first), not "${text}"`);
}

/** Exit `failed` for an execution that has failed or was cancelled. */
export async function status(
  { out }: CliContext,
  api: Api,
  id: string,
  flags: JsonFlag,
): Promise<ExitReason> {
  const execution = await api.getObject(`/api/executions/${id}/status`);
  const answer = await api.getObject(`/api/executions/${id}/steps`);
  if (flags.json === true) {
    out(formatJson({ ...execution, steps: answer["steps"] ?? [] }));
  } else {
    out(statusText(id, execution, rowsOf(answer, "steps")));
    if (field(execution, "status") === "RUNNING") {
      await explainWaiting(out, api, id);
    }
  }
  return ["FAILED", "CANCELLED"].includes(field(execution, "status")) ? "failed" : "ok";
}

/** Nothing is more puzzling than a step that runs and does nothing: it may wait for a worker or for GPUs. */
async function explainWaiting(out: CliContext["out"], api: Api, id: string): Promise<void> {
  const [commands, pools] = await Promise.all([
    api.getObject(`/api/executions/${id}/commands`),
    api.get("/api/worker/pools"),
  ]);
  const open = rowsOf(commands, "commands");
  const lines = [...commandReasons(open, rowsOf(pools)), ...holderLines(open)];
  for (const line of lines) {
    out(`\n${line}`);
  }
}

function statusText(id: string, execution: JsonObject, steps: readonly JsonObject[]): string {
  const errors = new Set([...steps, execution].map((each) => field(each, "error")));
  errors.delete("");
  const table = formatTable(
    ["step", "status", "visits", "attempts", "took"],
    steps.map((step) => [
      field(step, "step"),
      field(step, "status"),
      field(step, "visits"),
      field(step, "attempts"),
      took(step),
    ]),
  );
  const reason = field(execution, "waiting_reason");
  return [
    `Execution ${id}: ${field(execution, "status")}${reason === "" ? "" : `, ${reason}`}`,
    ...(steps.length === 0 ? [] : [table]),
    ...steps.flatMap(waitingText),
    ...(errors.size === 0 ? [] : ["", ...errors]),
  ].join("\n");
}

/** What a waiting step waits for, and how to send it. */
function waitingText(step: JsonObject): readonly string[] {
  const { waiting } = step;
  if (!isJsonObject(waiting)) {
    return [];
  }
  const signal = field(waiting, "signal");
  const what = signal === "" ? `until ${field(waiting, "until")}` : `for signal ${signal}`;
  const deadline = field(waiting, "deadline");
  const limit = deadline === "" ? "" : `, at most until ${deadline}`;
  return [`\n${field(step, "step")} waits ${what}${limit}`];
}

function took(step: JsonObject): string {
  const begin = Date.parse(field(step, "started_at"));
  const end = Date.parse(field(step, "finished_at"));
  if (!Number.isNaN(end - begin)) {
    return formatDuration(end - begin);
  }
  return Number.isNaN(begin) ? "" : `${formatDuration(Math.max(0, Date.now() - begin))} so far`;
}

export interface LogsFlags extends JsonFlag {
  readonly follow?: boolean | undefined;
  readonly step?: string | undefined;
  readonly limit?: string | undefined;
}

export async function logs(
  context: CliContext,
  api: Api,
  id: string,
  flags: LogsFlags,
): Promise<ExitReason> {
  if (flags.follow !== true) {
    return await keptLogs(context, api, id, flags);
  }
  for await (const { event, data } of api.live(`/api/executions/${id}/logs/stream`)) {
    if (event === "message" && (flags.step === undefined || field(data, "step") === flags.step)) {
      printLine(context, data, flags);
    }
  }
  return "ok";
}

const LOG_LINES = 1000;
const LOG_PAGE = 1000;

/** The newest lines; all pages are read, because the oldest come first. */
async function keptLogs(
  context: CliContext,
  api: Api,
  id: string,
  flags: LogsFlags,
): Promise<ExitReason> {
  const wanted = readLimit(flags.limit);
  const newest: JsonObject[] = [];
  let dropped = 0;
  let after: string | undefined = "0";
  while (after !== undefined && !context.signal.aborted) {
    const query: URLSearchParams = new URLSearchParams({ limit: `${LOG_PAGE}`, after_seq: after });
    if (flags.step !== undefined) {
      query.set("step", flags.step);
    }
    const answer = await api.getObject(`/api/executions/${id}/logs?${query}`);
    newest.push(...rowsOf(answer, "logs"));
    dropped += newest.splice(0, Math.max(0, newest.length - wanted)).length;
    after = field(answer, "next_after_seq") || undefined;
  }
  if (dropped > 0 && flags.json !== true) {
    context.note(`(${dropped} earlier lines; --limit shows more)`);
  }
  for (const line of newest) {
    printLine(context, line, flags);
  }
  return "ok";
}

function readLimit(text: string | undefined): number {
  const limit = Number(text ?? LOG_LINES);
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw new UsageError(`--limit must be a number of lines, not "${text}"`);
  }
  return limit;
}

function printLine({ out }: CliContext, line: JsonObject, flags: JsonFlag): void {
  const index = field(line, "index");
  const place = `${field(line, "step")}${index === "" ? "" : `[${index}]`}`;
  const mark = field(line, "stream") === "stderr" ? "!" : " ";
  out(flags.json === true ? JSON.stringify(line) : `${place} ${mark} ${field(line, "text")}`);
}

export interface CancelFlags extends JsonFlag {
  readonly reason?: string | undefined;
  readonly cascade?: boolean | undefined;
}

export async function cancel(
  { out }: CliContext,
  api: Api,
  id: string,
  flags: CancelFlags,
): Promise<ExitReason> {
  const answer = await api.postObject(`/api/executions/${id}/cancel`, {
    reason: flags.reason ?? null,
    cascade: flags.cascade ?? true,
  });
  out(flags.json === true ? formatJson(answer) : `Execution ${id}: ${field(answer, "message")}`);
  return "ok";
}
