/** What people do with schedules: define, pause, run by hand, catch up, look. */
import { AppError } from "../core/errors.ts";
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import type { Schedule } from "../dsl/schedule.ts";
import { parseSchedule } from "../dsl/schedule.ts";
import type { ScheduleRow } from "../store/schedule.ts";
import {
  addSchedule,
  changeSchedule,
  findSchedule,
  listSchedules,
  removeSchedule,
  wakeSchedule,
} from "../store/schedule.ts";
import type { FiringRow } from "../store/schedule-firing.ts";
import {
  addBackfill,
  addManualFiring,
  endFiring,
  listFirings,
  newestFirings,
  skipWaitingFirings,
} from "../store/schedule-firing.ts";
import { acceptDocument } from "./document-error.ts";
import { fire } from "./fire.ts";
import type { TriggerOptions } from "./options.ts";
import type { Timing } from "./timing.ts";
import { checkCron, createTiming, DUE_TIMES_MAX, dueBetween } from "./timing.ts";

export interface ScheduleBook {
  /** The definition as the API takes it. @throws AppError conflict SCHEDULE_EXISTS, invalid SCHEDULE_INVALID */
  create(definition: JsonObject): Promise<ScheduleRow>;
  /** @throws AppError not_found SCHEDULE_NOT_FOUND, invalid SCHEDULE_INVALID */
  replace(name: string, definition: JsonObject): Promise<ScheduleRow>;
  /** Adds the schedule of a document, or changes the one of that name. */
  apply(spec: Schedule, catalogId: CatalogId): Promise<ScheduleRow>;
  list(page: Page): Promise<readonly ScheduleRow[]>;
  get(name: string): Promise<ScheduleRow>;
  remove(name: string): Promise<void>;
  /** Due times pass without firings; what waits for its turn is skipped. */
  pause(name: string): Promise<ScheduleRow>;
  /** Goes on with the next due time; those of the pause are not caught up. */
  resume(name: string): Promise<ScheduleRow>;
  /** Starts an execution now, whatever runs. `payload` takes the place of the schedule's. */
  run(name: string, payload: JsonObject | undefined): Promise<ManualRun>;
  /** Meets due times of the past that nothing was started for. */
  backfill(name: string, range: BackfillRange): Promise<Backfill>;
  /** The next due times, as if it were not paused. */
  next(name: string, count: number): Promise<readonly number[]>;
  firings(name: string, page: Page & { readonly status?: string }): Promise<readonly FiringRow[]>;
  /** The last firing of each, by id. */
  newestFirings(scheduleIds: readonly string[]): Promise<ReadonlyMap<string, FiringRow>>;
}

interface Page {
  readonly limit: number;
  readonly offset: number;
}

export interface ManualRun {
  readonly scheduleId: string;
  readonly dueMs: number;
  readonly executionId: ExecutionId;
}

export interface BackfillRange {
  readonly fromMs: number;
  /** Due times before. */
  readonly toMs: number;
  /** True: only says what it would do. */
  readonly isDryRun: boolean;
}

export interface Backfill {
  /** Due times in the range, oldest first. */
  readonly due: readonly number[];
  /** Of these, the ones that are met now. */
  readonly added: readonly number[];
}

/** Keeps the sweep off a firing by hand while its caller starts it. */
const MANUAL_LEASE_MS = 15_000;
const TRIES = 5;

export function createScheduleBook(options: TriggerOptions): ScheduleBook {
  const { store, orchestrator } = options;
  const sql = store.durable;

  const find = async (name: string): Promise<ScheduleRow> => {
    const row = await findSchedule(sql, name);
    if (row === undefined) {
      throw new AppError("not_found", "SCHEDULE_NOT_FOUND", `There is no schedule ${name}`);
    }
    return row;
  };
  const add = async (spec: Schedule, catalogId: CatalogId | undefined) => {
    const isEnabled = spec.isEnabled ?? true;
    const anchorMs = Date.now();
    const nextRunMs = isEnabled ? createTiming(spec, anchorMs).next(anchorMs) : undefined;
    const scheduleId = await orchestrator.newId();
    return await addSchedule(sql, { scheduleId, catalogId, spec, isEnabled, anchorMs, nextRunMs });
  };
  /** Repeats what somebody else's change has overtaken. */
  const change = async (
    name: string,
    edit: (row: ScheduleRow) => {
      readonly spec?: Schedule;
      readonly isEnabled?: boolean;
      readonly catalogId?: CatalogId | undefined;
    },
  ): Promise<ScheduleRow> => {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const row = await find(name);
      const edited = { spec: row.spec, isEnabled: row.isEnabled, ...edit(row) };
      const changed = await changeSchedule(sql, row, {
        catalogId: edited.catalogId ?? row.catalogId ?? undefined,
        ...edited,
        ...nextRun(row, edited.spec, edited.isEnabled),
      });
      if (changed !== undefined) {
        return changed;
      }
    }
    throw new AppError("conflict", "SCHEDULE_BUSY", `Schedule ${name} is being changed: try again`);
  };

  return {
    create: async (definition) => {
      const spec = readDefinition(definition);
      const row = await add(spec, undefined);
      if (row === undefined) {
        const message = `There is a schedule ${spec.name} already: change it with PUT`;
        throw new AppError("conflict", "SCHEDULE_EXISTS", message);
      }
      return row;
    },
    replace: async (name, definition) => {
      const spec = readDefinition({ ...definition, name: (await find(name)).name });
      return await change(name, (row) => ({ spec, isEnabled: spec.isEnabled ?? row.isEnabled }));
    },
    apply: async (spec, catalogId) =>
      (await add(spec, catalogId)) ??
      (await change(spec.name, (row) => ({
        spec,
        catalogId,
        isEnabled: spec.isEnabled ?? row.isEnabled,
      }))),
    list: async (page) => await listSchedules(sql, page),
    get: find,
    remove: async (name) => {
      await removeSchedule(sql, (await find(name)).scheduleId);
    },
    pause: async (name) => {
      const row = await change(name, () => ({ isEnabled: false }));
      await skipWaitingFirings(sql, row.scheduleId, "the schedule was paused");
      return row;
    },
    resume: async (name) => await change(name, () => ({ isEnabled: true })),
    run: async (name, payload) => {
      const { scheduleId, spec, anchorMs } = await find(name);
      const firing = await addManualFiring(sql, scheduleId, { payload, leaseMs: MANUAL_LEASE_MS });
      if (firing === undefined) {
        throw new AppError("conflict", "SCHEDULE_BUSY", "It was just run: try again");
      }
      const timing = createTiming(spec, anchorMs);
      const end = await fire(orchestrator, { scheduleId, schedule: spec, timing, firing });
      return await endManual(options, { scheduleId, dueMs: firing.dueMs }, end);
    },
    backfill: async (name, range) => {
      const { scheduleId, spec, anchorMs } = await find(name);
      const due = dueIn(createTiming(spec, anchorMs), range);
      if (range.isDryRun || due.length === 0) {
        return { due, added: [] };
      }
      const added = await addBackfill(sql, scheduleId, due);
      await wakeSchedule(sql, scheduleId);
      return { due, added };
    },
    next: async (name, count) => {
      const { spec, anchorMs } = await find(name);
      const range = { fromMs: Date.now(), toMs: Number.POSITIVE_INFINITY, limit: count };
      return dueBetween(createTiming(spec, anchorMs), range);
    },
    firings: async (name, page) => await listFirings(sql, (await find(name)).scheduleId, page),
    newestFirings: async (scheduleIds) => await newestFirings(sql, scheduleIds),
  };
}

/** A change of times starts from now; anything else leaves the next due time as it is. */
function nextRun(
  row: ScheduleRow,
  spec: Schedule,
  isEnabled: boolean,
): { readonly anchorMs: number; readonly nextRunMs: number | undefined } {
  const isSame = TIMES.every((key) => spec[key] === row.spec[key]);
  const anchorMs = isSame ? row.anchorMs : Date.now();
  if (!isEnabled) {
    return { anchorMs, nextRunMs: undefined };
  }
  return isSame && row.nextRunMs !== null
    ? { anchorMs, nextRunMs: row.nextRunMs }
    : { anchorMs, nextRunMs: createTiming(spec, anchorMs).next(Date.now()) };
}

const TIMES = ["cron", "intervalMs", "timezone", "startMs", "endMs"] as const;

/** The API's form is the document's spec with the name and description beside its fields. */
function readDefinition({ name, description, ...spec }: JsonObject): Schedule {
  const document = {
    apiVersion: "noetl.io/v2",
    kind: "Schedule",
    metadata: {
      ...(name === undefined ? {} : { name }),
      ...(description === undefined ? {} : { description }),
    },
    spec,
  };
  return acceptDocument("schedule", parseSchedule(JSON.stringify(document), { checkCron }), {
    isStrict: true,
  }).document;
}

function dueIn(timing: Timing, { fromMs, toMs }: BackfillRange): readonly number[] {
  const end = Math.min(toMs, Date.now());
  const due = dueBetween(timing, { fromMs, toMs: end, limit: DUE_TIMES_MAX + 1 });
  if (due.length > DUE_TIMES_MAX) {
    const message = `More than ${DUE_TIMES_MAX} due times: backfill in parts, up to ${new Date(due[DUE_TIMES_MAX - 1] ?? 0).toISOString()} first`;
    throw new AppError("invalid", "BACKFILL_TOO_LARGE", message);
  }
  return due;
}

async function endManual(
  { store, metrics }: TriggerOptions,
  { scheduleId, dueMs }: Pick<ManualRun, "scheduleId" | "dueMs">,
  end: Awaited<ReturnType<typeof fire>>,
): Promise<ManualRun> {
  if (end === undefined) {
    const message = "It cannot be started now; it will be as soon as possible";
    throw new AppError("unavailable", "SCHEDULE_RUN_WAITS", message);
  }
  await endFiring(store.durable, scheduleId, dueMs, end);
  metrics.scheduleFirings.inc("manual", end.status);
  if (end.status !== "started") {
    throw new AppError("invalid", "SCHEDULE_RUN_FAILED", `Cannot start: ${end.reason}`);
  }
  return { scheduleId, dueMs, executionId: end.executionId };
}
