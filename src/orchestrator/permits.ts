/**
 * Permits of rate limits for all workers. What asks while a statement is under way goes together into
 * the next one, by key, so that a thousand tasks that wait for one key cost one statement.
 */
import type { PermitAnswer, PermitDemand } from "../engine/command.ts";
import type { PermitGroup, PermitSpan } from "../store/rate.ts";
import { addRateKeys, takePermits } from "../store/rate.ts";
import { databaseError } from "../store/sqlstate.ts";
import { createCoalescer } from "./coalescer.ts";
import type { OrchestratorOptions } from "./options.ts";

/** Waits up to here are spent in the worker's slot; longer ones are promises. */
export const SOON_MS = 3000;
/** Promised ones come back so much earlier: what delays them on the way must not cost their turn. */
const EARLY_MS = 1000;
/** They come back after so long at the latest, in case those before them never do. */
const PROMISE_MS_MAX = 300_000;
const DEMANDS_MAX = 1000;

export type AcquirePermits = (demands: readonly PermitDemand[]) => Promise<readonly PermitAnswer[]>;

export function createPermits({
  store,
  metrics,
}: Pick<OrchestratorOptions, "store" | "metrics">): AcquirePermits {
  const acquire = createCoalescer<PermitDemand, PermitAnswer>(
    // A permit that a crash of the database forgets would be given twice.
    (demands) => acquireAll(store.durable, demands),
    { max: DEMANDS_MAX, concurrency: 1 },
  );
  return async (demands) => {
    try {
      const answers = await Promise.all(demands.map((demand) => acquire(demand)));
      for (const { isGranted, waitMs } of answers) {
        metrics.permits.inc(isGranted ? "granted" : "put_off");
        metrics.permitWaitSeconds.observe(waitMs / 1000);
      }
      return answers;
    } catch (error) {
      throw databaseError(error);
    }
  };
}

type Sql = Parameters<typeof takePermits>[0];

interface Asking {
  readonly group: PermitGroup;
  /** Positions of the demands. */
  readonly promised: number[];
  readonly fresh: number[];
}

async function acquireAll(
  sql: Sql,
  demands: readonly PermitDemand[],
): Promise<readonly PermitAnswer[]> {
  const answers: PermitAnswer[] = [];
  for (const round of roundsOf(demands)) {
    const spans = await takeSpans(
      sql,
      round.map(({ group }) => group),
    );
    for (const asking of round) {
      const span = spans.get(asking.group.key);
      for (const [position, answer] of span === undefined ? [] : answersOf(asking, span)) {
        answers[position] = answer;
      }
    }
  }
  return answers;
}

/** A statement takes a key once: what asks for it at another rate goes into the next one. */
function roundsOf(demands: readonly PermitDemand[]): readonly (readonly Asking[])[] {
  const rounds: Map<string, Asking>[] = [];
  for (const asking of groupsOf(demands)) {
    const { key } = asking.group;
    const free = rounds.find((round) => !round.has(key));
    if (free === undefined) {
      rounds.push(new Map([[key, asking]]));
    } else {
      free.set(key, asking);
    }
  }
  return rounds.map((round) => [...round.values()].sort(byKey));
}

function byKey({ group: a }: Asking, { group: b }: Asking): number {
  return a.key < b.key ? -1 : 1;
}

function groupsOf(demands: readonly PermitDemand[]): Iterable<Asking> {
  const groups = new Map<string, Asking>();
  for (const [position, { key, perSecond, burst, isPromised }] of demands.entries()) {
    const name = `${perSecond} ${burst} ${key}`;
    const known = groups.get(name);
    const promised = known?.promised ?? [];
    const fresh = known?.fresh ?? [];
    (isPromised ? promised : fresh).push(position);
    const counts = { promised: promised.length, fresh: fresh.length };
    const group = { key, stepMs: 1000 / perSecond, burst, ...counts };
    groups.set(name, { group, promised, fresh });
  }
  return groups.values();
}

async function takeSpans(
  sql: Sql,
  groups: readonly PermitGroup[],
): Promise<ReadonlyMap<string, PermitSpan>> {
  const spans = new Map<string, PermitSpan>();
  for (let open = groups; open.length > 0; ) {
    for (const span of await takePermits(sql, open, SOON_MS)) {
      spans.set(span.key, span);
    }
    open = open.filter(({ key }) => !spans.has(key));
    if (open.length > 0) {
      await addRateKeys(
        sql,
        open.map(({ key }) => key),
      );
    }
  }
  return spans;
}

/** What a span means for each that asked, by its position. Earlier positions get earlier permits. */
export function answersOf(
  { group, promised, fresh }: Asking,
  span: PermitSpan,
): readonly (readonly [position: number, answer: PermitAnswer])[] {
  const { stepMs, burst } = group;
  const dueMs = (n: number): number => span.baseMs + (n - burst + 1) * stepMs - span.nowMs;
  const granted = (n: number): PermitAnswer => ({
    isGranted: true,
    waitMs: Math.max(0, dueMs(n)),
  });
  const putOff = (waitMs: number): PermitAnswer => ({
    isGranted: false,
    waitMs: Math.min(PROMISE_MS_MAX, Math.max(EARLY_MS, waitMs - EARLY_MS)),
  });
  const kept = promised.map((position, n) => {
    const answer = n < span.promised ? granted(n) : putOff(dueMs(n + span.fresh));
    return [position, answer] as const;
  });
  const first = fresh.map((position, n) => {
    const turnMs = span.lineMs + (n - span.fresh) * stepMs - span.nowMs;
    return [position, n < span.fresh ? granted(span.promised + n) : putOff(turnMs)] as const;
  });
  return [...kept, ...first];
}
