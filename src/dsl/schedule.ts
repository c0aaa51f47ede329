/**
 * A schedule after parsing: when to start which playbook. Plain JSON, as the store keeps it. Texts
 * inside `payload` may be templates; they see `schedule` (see src/triggers/firing.ts).
 */
import { parseInstant } from "../core/instant.ts";
import type { JsonObject } from "../core/json.ts";
import type { DocumentResult, Header } from "./document.ts";
import { readDocument } from "./document.ts";
import { checkTemplates } from "./expression.ts";
import { readDuration } from "./policy.ts";
import type { Fields } from "./report.ts";
import type { TriggerTarget } from "./trigger-target.ts";
import { readTarget, TARGET_KEYS } from "./trigger-target.ts";

export interface Schedule extends TriggerTarget {
  /** Unique among schedules. */
  readonly name: string;
  /** Catalog path of its document; the name unless that says otherwise. */
  readonly path: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly description?: string;
  /** Five or six fields, or `@daily` and its like. Either this or `intervalMs`. */
  readonly cron?: string;
  /** Counted from `startMs`, or from when the schedule was made. */
  readonly intervalMs?: number;
  /** IANA name of the zone that `cron` is meant in. */
  readonly timezone: string;
  readonly payload: JsonObject;
  /** Absent: the document does not say; true for a new schedule. */
  readonly isEnabled?: boolean;
  /** No due times before. Milliseconds since 1970. */
  readonly startMs?: number;
  /** No due times from then on. */
  readonly endMs?: number;
  /** Each firing waits a random time below this. */
  readonly jitterMs: number;
  /** What happens to due times that no server was there for. */
  readonly catchup: "none" | "last" | "all";
  /** Of `all`: the newest so many. */
  readonly catchupLimit: number;
  /** What a firing does while an earlier execution of the schedule still runs. */
  readonly overlap: "allow" | "skip" | "queue" | "cancel_previous";
}

export interface ScheduleOptions {
  /** What is wrong with a cron expression in a time zone; undefined: nothing. */
  readonly checkCron: (cron: string, timezone: string) => string | undefined;
}

const KEYS = [
  ...TARGET_KEYS,
  "cron",
  "interval",
  "timezone",
  "payload",
  "enabled",
  "start_at",
  "end_at",
  "jitter",
  "catchup",
  "catchup_limit",
  "overlap",
];
const INTERVAL_MS_MIN = 1000;
const CATCHUP_LIMIT_DEFAULT = 100;
const CATCHUP_LIMIT_MAX = 1000;

/** Never throws on any text. */
export function parseSchedule(text: string, options: ScheduleOptions): DocumentResult<Schedule> {
  return readDocument(text, (spec, header) => readSchedule(spec, header, options));
}

function readSchedule(spec: Fields, header: Header, options: ScheduleOptions): Schedule {
  spec.checkKeys(KEYS);
  const payload = spec.fields("payload");
  checkTemplates(spec.report, payload.map, payload.path);
  const isEnabled = spec.flag("enabled");
  return {
    ...header,
    ...readTarget(spec),
    ...readTiming(spec, options),
    payload: payload.map,
    ...(isEnabled === undefined ? {} : { isEnabled }),
    ...readBounds(spec),
    jitterMs: readDuration(spec, "jitter") ?? 0,
    catchup: spec.choice("catchup", ["none", "last", "all"], "CATCHUP_UNKNOWN") ?? "last",
    catchupLimit: readCatchupLimit(spec),
    overlap:
      spec.choice("overlap", ["allow", "skip", "queue", "cancel_previous"], "OVERLAP_UNKNOWN") ??
      "allow",
  };
}

function readTiming(
  spec: Fields,
  { checkCron }: ScheduleOptions,
): Pick<Schedule, "cron" | "intervalMs" | "timezone"> {
  const cron = spec.text("cron");
  const intervalMs = readDuration(spec, "interval");
  const timezone = spec.text("timezone") ?? "UTC";
  if (spec.has("cron") === spec.has("interval")) {
    spec.error("TIMING_INVALID", "cron", 'a schedule has either "cron" or "interval"');
  }
  const problem = checkCron(cron ?? "@daily", timezone);
  if (problem !== undefined) {
    spec.error("CRON_INVALID", cron === undefined ? "timezone" : "cron", problem);
  }
  if (intervalMs !== undefined && intervalMs < INTERVAL_MS_MIN) {
    spec.error("INTERVAL_INVALID", "interval", "interval must be at least one second");
  }
  return {
    timezone,
    ...(cron === undefined ? {} : { cron }),
    ...(intervalMs === undefined ? {} : { intervalMs: Math.round(intervalMs) }),
  };
}

function readBounds(spec: Fields): Pick<Schedule, "startMs" | "endMs"> {
  const startMs = readTime(spec, "start_at");
  const endMs = readTime(spec, "end_at");
  if (startMs !== undefined && endMs !== undefined && endMs <= startMs) {
    spec.error("TIME_INVALID", "end_at", "end_at must be after start_at");
  }
  return {
    ...(startMs === undefined ? {} : { startMs }),
    ...(endMs === undefined ? {} : { endMs }),
  };
}

function readTime(spec: Fields, key: string): number | undefined {
  const value = spec.get(key);
  const ms = parseInstant(value);
  if (value !== undefined && ms === undefined) {
    const message = `${key} must be a time such as 2026-01-31T00:00:00Z`;
    spec.error("TIME_INVALID", key, message);
  }
  return ms;
}

function readCatchupLimit(spec: Fields): number {
  const limit = spec.integer("catchup_limit", 1) ?? CATCHUP_LIMIT_DEFAULT;
  if (limit > CATCHUP_LIMIT_MAX) {
    const message = `catchup_limit is at most ${CATCHUP_LIMIT_MAX}; use a backfill for more`;
    spec.error("CATCHUP_LIMIT_INVALID", "catchup_limit", message);
  }
  return limit;
}
