/** `schedule`: when to start which playbook. */
import type { JsonObject } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { JsonFlag } from "./catalog-commands.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { field, formatJson, formatTable, formatTime, rowsOf } from "./format.ts";
import type { PayloadFlags } from "./payload.ts";
import { readPayload } from "./payload.ts";
import { followExecution } from "./watch.ts";

export interface ScheduleFlags extends PayloadFlags, JsonFlag {
  readonly playbook: string;
  readonly cron?: string | undefined;
  readonly interval?: string | undefined;
  readonly timezone?: string | undefined;
  readonly version?: string | undefined;
  readonly startAt?: string | undefined;
  readonly endAt?: string | undefined;
  readonly jitter?: string | undefined;
  readonly catchup?: string | undefined;
  readonly catchupLimit?: string | undefined;
  readonly overlap?: string | undefined;
  readonly executionPool?: string | undefined;
  readonly priority?: string | undefined;
  readonly description?: string | undefined;
  readonly paused?: boolean | undefined;
  /** Changes the schedule of that name instead. */
  readonly replace?: boolean | undefined;
}

export async function addSchedule(
  { out }: CliContext,
  api: Api,
  name: string,
  flags: ScheduleFlags,
): Promise<ExitReason> {
  const definition = await readDefinition(name, flags);
  const row =
    flags.replace === true
      ? await api.putObject(scheduleUrl(name), definition)
      : await api.postObject("/api/schedules", definition);
  out(flags.json === true ? formatJson(row) : `Schedule ${name}: ${nextText(row)}`);
  return "ok";
}

async function readDefinition(name: string, flags: ScheduleFlags): Promise<JsonObject> {
  const given: Readonly<Record<string, string | number | undefined>> = {
    cron: flags.cron,
    interval: flags.interval,
    timezone: flags.timezone,
    version: flags.version,
    start_at: flags.startAt,
    end_at: flags.endAt,
    jitter: flags.jitter,
    catchup: flags.catchup,
    catchup_limit: readNumber("--catchup-limit", flags.catchupLimit),
    overlap: flags.overlap,
    pool: flags.executionPool,
    priority: readNumber("--priority", flags.priority),
    description: flags.description,
  };
  return {
    name,
    playbook: flags.playbook,
    payload: await readPayload(flags),
    ...(flags.paused === true ? { enabled: false } : {}),
    ...Object.fromEntries(
      Object.entries(given).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
    ),
  };
}

function readNumber(flag: string, text: string | undefined): number | undefined {
  const number = text === undefined ? undefined : Number(text);
  if (number !== undefined && !Number.isSafeInteger(number)) {
    throw new UsageError(`${flag} must be a whole number, not "${text}"`);
  }
  return number;
}

function nextText(row: JsonObject): string {
  const next = formatTime(row["next_run_at"]);
  if (next !== "") {
    return `next at ${next}`;
  }
  return row["enabled"] === true ? "no due time is left" : "paused";
}

export async function getSchedule(
  { out }: CliContext,
  api: Api,
  name: string,
  flags: JsonFlag,
): Promise<ExitReason> {
  const row = await api.getObject(scheduleUrl(name));
  const facts = Object.keys(row)
    .map((key) => [key, field(row, key)])
    .filter(([, value]) => value !== "");
  out(flags.json === true ? formatJson(row) : formatTable(["field", "value"], facts));
  return "ok";
}

/** `pause`, `resume`. */
export async function changeSchedule(
  { out }: CliContext,
  api: Api,
  { name, action }: { readonly name: string; readonly action: "pause" | "resume" },
  flags: JsonFlag,
): Promise<ExitReason> {
  const row = await api.postObject(`${scheduleUrl(name)}/${action}`, {});
  out(flags.json === true ? formatJson(row) : `Schedule ${name}: ${nextText(row)}`);
  return "ok";
}

export async function deleteSchedule(
  { out }: CliContext,
  api: Api,
  name: string,
  flags: JsonFlag,
): Promise<ExitReason> {
  const answer = await api.delete(scheduleUrl(name));
  out(flags.json === true ? formatJson(answer) : `Schedule ${name} deleted`);
  return "ok";
}

export async function runSchedule(
  context: CliContext,
  api: Api,
  name: string,
  flags: PayloadFlags & JsonFlag & { readonly wait?: boolean | undefined },
): Promise<ExitReason> {
  const payload = await readPayload(flags);
  const body = Object.keys(payload).length === 0 ? {} : { payload };
  const started = await api.postObject(`${scheduleUrl(name)}/run`, body);
  const id = field(started, "execution_id");
  if (flags.wait === true) {
    return await followExecution(context, api, id, flags);
  }
  context.out(flags.json === true ? formatJson(started) : `Execution ${id} started`);
  return "ok";
}

export async function nextTimes(
  { out }: CliContext,
  api: Api,
  name: string,
  flags: JsonFlag & { readonly count?: string | undefined },
): Promise<ExitReason> {
  const count = readNumber("--count", flags.count) ?? 5;
  const answer = await api.getObject(`${scheduleUrl(name)}/next?count=${count}`);
  const times = Array.isArray(answer["next"]) ? answer["next"] : [];
  out(flags.json === true ? formatJson(times) : times.map(formatTime).join("\n"));
  return "ok";
}

export async function scheduleHistory(
  { out }: CliContext,
  api: Api,
  name: string,
  flags: JsonFlag & { readonly limit?: string | undefined; readonly status?: string | undefined },
): Promise<ExitReason> {
  const query = new URLSearchParams({ limit: flags.limit ?? "20" });
  if (flags.status !== undefined) {
    query.set("status", flags.status);
  }
  const rows = rowsOf(await api.get(`${scheduleUrl(name)}/firings?${query}`), "firings");
  const cells = rows.map((row) => [
    formatTime(row["due"]),
    field(row, "kind"),
    field(row, "status"),
    field(row, "execution_id"),
    field(row, "execution_status"),
    field(row, "reason"),
  ]);
  const headings = ["due", "kind", "status", "execution", "its status", "reason"];
  const text = cells.length === 0 ? "It has not been due yet." : formatTable(headings, cells);
  out(flags.json === true ? formatJson(rows) : text);
  return "ok";
}

export async function backfillSchedule(
  { out }: CliContext,
  api: Api,
  name: string,
  flags: JsonFlag & {
    readonly from: string;
    readonly to: string;
    readonly dryRun?: boolean | undefined;
  },
): Promise<ExitReason> {
  const isDryRun = flags.dryRun === true;
  const answer = await api.postObject(`${scheduleUrl(name)}/backfill`, {
    from: flags.from,
    to: flags.to,
    dry_run: isDryRun,
  });
  const times = answer[isDryRun ? "due" : "added"];
  const list = Array.isArray(times) ? times : [];
  const summary = isDryRun
    ? `${list.length} due times; those that something was started for are left out`
    : `${list.length} executions will be started`;
  out(flags.json === true ? formatJson(answer) : [...list.map(formatTime), summary].join("\n"));
  return "ok";
}

function scheduleUrl(name: string): string {
  return `/api/schedules/${encodeURIComponent(name)}`;
}
