/** What must hold of the acknowledgements of cursors. */
import type { Json } from "../../../src/core/json.ts";
import type { RecordedEvent } from "../../../src/engine/event.ts";
import { check, isRunEnd } from "./simulator-log.ts";

/** Items of one visit, those of the visits that it resumes included. */
interface Claimed {
  total: number;
  readonly acks: Map<number, Json>;
}

/** Acknowledgements of the rows of all items that went well. */
export function goodAcks(events: readonly RecordedEvent[]): ReadonlySet<Json> {
  const visits = new Map<string, Claimed>();
  const good = new Set<Json>();
  for (const { event } of events) {
    if (event.type === "step.entered") {
      const before = visits.get(`${event.step}#${event.resumes ?? 0}`);
      const claimed = { total: before?.total ?? 0, acks: new Map(before?.acks) };
      visits.set(`${event.step}#${event.visit}`, claimed);
    } else if (event.type === "loop.frame") {
      const claimed = visits.get(`${event.step}#${event.visit}`);
      for (const ack of event.acks ?? []) {
        claimed?.acks.set(claimed.total++, ack);
      }
    } else if (isRunEnd(event) && event.index !== undefined) {
      const isGood = event.type === "call.done" || event.error === undefined;
      const ack = visits.get(`${event.step}#${event.visit}`)?.acks.get(event.index) ?? [];
      for (const one of isGood ? [ack].flat() : []) {
        good.add(one);
      }
    }
  }
  return good;
}

/** Where nothing failed, the source knows of everything that was done. */
export function checkAcknowledged(
  events: readonly RecordedEvent[],
  acknowledged: ReadonlySet<Json>,
): void {
  const isWhole =
    events.at(-1)?.event.type === "playbook.completed" &&
    events.every(({ event }) => event.type !== "step.exited" || event.error === undefined) &&
    events.every(({ event }) => event.type !== "playbook.resumed");
  const isTold = [...goodAcks(events)].every((ack) => acknowledged.has(ack));
  check(!isWhole || isTold, "all that went well is acknowledged");
}
