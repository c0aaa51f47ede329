/** What must hold of the whole log of an execution that has ended, retries included. */
import type { ExecutionEvent, RecordedEvent } from "../../../src/engine/event.ts";
import { TERMINAL_EVENTS } from "../../../src/engine/event.ts";

export function check(condition: boolean, rule: string): void {
  if (!condition) {
    throw new Error(`broken: ${rule}`);
  }
}

export function checkLog(events: readonly RecordedEvent[]): void {
  checkEnds(events);
  checkVisits(events.map(({ event }) => event));
  checkItems(events.map(({ event }) => event));
  checkSignals(events);
}

/** The log ends with a terminal event; one before that is followed by a retry, and only that is. */
function checkEnds(events: readonly RecordedEvent[]): void {
  const ends = events.map(({ event }) => TERMINAL_EVENTS.has(event.type));
  check(ends.at(-1) === true, "a terminal event is the last");
  for (const [index, isEnd] of ends.entries()) {
    const next = events[index + 1]?.event.type;
    check(
      next === undefined || isEnd === (next === "playbook.resumed"),
      "a retry follows an end, and nothing else does",
    );
  }
}

/** After a good end every visit was left, or entered again by a retry. */
function checkVisits(events: readonly ExecutionEvent[]): void {
  if (events.at(-1)?.type !== "playbook.completed") {
    return;
  }
  const open = new Set<string>();
  let isFinishing = false;
  for (const event of events) {
    if (event.type === "playbook.finishing") {
      isFinishing = true;
    } else if (event.type === "playbook.resumed") {
      isFinishing = false;
    } else if (event.type === "step.entered") {
      open.delete(`${event.step}#${event.resumes ?? 0}`);
      // What the final step leaves behind when it fails is not retried: it runs again as a whole.
      if (!isFinishing) {
        open.add(`${event.step}#${event.visit}`);
      }
    } else if (event.type === "step.skipped") {
      open.delete(`${event.step}#${event.resumes ?? 0}`);
    } else if (event.type === "step.exited" && (event.status === "ok" || event.isHandled)) {
      open.delete(`${event.step}#${event.visit}`);
    }
  }
  check(open.size === 0, `every visit ended well or was retried: ${[...open].join()}`);
}

/** Every item of every run ended at most once, every item of a whole loop did, no good one again. */
function checkItems(events: readonly ExecutionEvent[]): void {
  const ended = new Map<string, "ok" | "error">();
  /** Good items by visit, those of the visits that it resumes included. */
  const good = new Map<string, Set<number>>();
  /** Visits whose cursor could not claim any more. */
  const cut = new Set<string>();
  for (const event of events) {
    if (event.type === "step.entered") {
      const before = good.get(`${event.step}#${event.resumes ?? 0}`);
      good.set(`${event.step}#${event.visit}`, new Set(before));
    } else if (isRunEnd(event) && event.puller !== undefined) {
      // What a puller does itself is no item.
      if (event.type === "call.error") {
        cut.add(`${event.step}#${event.visit}`);
      }
    } else if (isRunEnd(event)) {
      const { step, visit, index } = event;
      const key = `${step}#${visit}:${index ?? ""}`;
      check(!ended.has(key), "no run ends twice");
      const isBad = event.type !== "call.done" && event.error !== undefined;
      ended.set(key, isBad ? "error" : "ok");
      const items = good.get(`${step}#${visit}`);
      if (index !== undefined) {
        check(items?.has(index) !== true, "no item that went well runs again");
        if (!isBad) {
          items?.add(index);
        }
      }
    } else if (event.type === "loop.done") {
      const { total, succeeded, failed } = event.stats;
      const key = `${event.step}#${event.visit}`;
      const errors = [...ended].filter(([k, how]) => k.startsWith(`${key}:`) && how === "error");
      check(good.get(key)?.size === succeeded, "the statistics count what went well");
      check(errors.length === failed, "the statistics count what failed");
      const isCut = failed > 0 || cut.has(key);
      check(isCut || succeeded === total, "no item of a loop is lost");
    }
  }
}

export function isRunEnd(
  event: ExecutionEvent,
): event is Extract<
  ExecutionEvent,
  { type: "call.done" | "call.error" | "child.done" | "wait.done" }
> {
  return (
    event.type === "call.done" ||
    event.type === "call.error" ||
    ((event.type === "child.done" || event.type === "wait.done") && event.pipeline === undefined)
  );
}

/** A signal ends one wait of its name, a broadcast any number; its key counts once. */
function checkSignals(events: readonly RecordedEvent[]): void {
  const taken = new Set<number>();
  const keys = new Set<string>();
  for (const { event } of events) {
    if (event.type === "wait.done" && event.signalSeq !== undefined) {
      const signal = events[event.signalSeq - 1]?.event;
      check(signal?.type === "signal.received", "a wait ends by a signal that was received");
      const isBroadcast = signal?.type === "signal.received" && signal.isBroadcast === true;
      check(isBroadcast || !taken.has(event.signalSeq), "a signal ends one wait");
      taken.add(event.signalSeq);
    } else if (event.type === "signal.received" && event.dedupKey !== undefined) {
      check(!keys.has(event.dedupKey), "a dedup key counts once");
      keys.add(event.dedupKey);
    }
  }
}
