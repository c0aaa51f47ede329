/** Signals from outside: recorded, then given to who waits for them, or kept until somebody does. */
import type { Refusal, Signal } from "./decision.ts";
import type { Draft } from "./draft.ts";
import type { ExecutionState } from "./state.ts";
import { isHeld } from "./state.ts";
import { deliver } from "./wait.ts";

/** Signals that one execution keeps. */
export const SIGNAL_COUNT_MAX = 1000;
/** Characters of their payloads' JSON, all together. */
export const SIGNAL_CHARS_MAX = 16 * 1024 * 1024;

/** False for one that was received before, by its dedup key. */
export function onSignal(draft: Draft, signal: Signal): boolean | Refusal {
  const { state } = draft;
  const { name, payload, sender, dedupKey, isBroadcast } = signal;
  if (dedupKey !== undefined && state.signalKeys.has(dedupKey)) {
    return false;
  }
  const refusal = refusalOf(state, name);
  if (refusal !== undefined) {
    return refusal;
  }
  draft.emit({
    type: "signal.received",
    name,
    payload,
    ...(sender === undefined ? {} : { sender }),
    ...(dedupKey === undefined ? {} : { dedupKey }),
    ...(isBroadcast === true ? { isBroadcast } : {}),
  });
  const kept = state.signals.get(name)?.at(-1);
  if (kept !== undefined) {
    deliver(draft, name, kept, isBroadcast === true);
  }
  return true;
}

function refusalOf(state: ExecutionState, name: string): Refusal | undefined {
  if (isHeld(state)) {
    const why = state.cancelling === undefined ? "failing" : "being cancelled";
    const message = `The execution is ${why}: nothing will wait for signal ${name}`;
    return { code: "EXECUTION_ENDING", message };
  }
  if (state.listeners.has(name)) {
    return undefined;
  }
  const kept = [...state.signals.values()].flat();
  const chars = kept.reduce((sum, signal) => sum + signal.chars, 0);
  if (kept.length < SIGNAL_COUNT_MAX && chars < SIGNAL_CHARS_MAX) {
    return undefined;
  }
  const message = `${kept.length} signals already wait for a step that takes them; at most ${SIGNAL_COUNT_MAX} and ${SIGNAL_CHARS_MAX / 2 ** 20} Mi characters are kept`;
  return { code: "SIGNALS_FULL", message };
}
