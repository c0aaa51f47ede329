/** The open waits and the signals that are kept for them. */
import type { EventOf, Place } from "./event.ts";
import { dropTimer } from "./fold-place.ts";
import type { OpenWait } from "./record.ts";
import { placeKey } from "./record.ts";
import type { ExecutionState } from "./state.ts";

/** Dedup keys that are remembered, the newest. */
export const SIGNAL_KEY_COUNT_MAX = 10_000;

export function applySignal(
  state: ExecutionState,
  event: EventOf<"signal.received">,
  timeMs: number,
): void {
  const { name, payload, sender, dedupKey } = event;
  const seq = state.seq + 1;
  const signal = { seq, receivedAtMs: timeMs, payload, sender, chars: charsOf(payload) };
  const kept = state.signals.get(name);
  if (kept === undefined) {
    state.signals.set(name, [signal]);
  } else {
    kept.push(signal);
  }
  if (dedupKey !== undefined) {
    rememberKey(state, dedupKey, seq);
  }
}

function charsOf(payload: EventOf<"signal.received">["payload"]): number {
  return JSON.stringify(payload).length;
}

function rememberKey({ signalKeys }: ExecutionState, key: string, seq: number): void {
  signalKeys.set(key, seq);
  const [oldest] = signalKeys.keys();
  if (oldest !== undefined && signalKeys.size > SIGNAL_KEY_COUNT_MAX) {
    signalKeys.delete(oldest);
  }
}

export function addWait(state: ExecutionState, wait: OpenWait): void {
  const key = placeKey(wait);
  state.waits.set(key, wait);
  if (wait.signal !== undefined) {
    const listeners = state.listeners.get(wait.signal) ?? new Set();
    state.listeners.set(wait.signal, listeners.add(key));
  }
}

/** The wait at this place, if there is one, is no more; its run stays. Gives what it was. */
export function dropWait(state: ExecutionState, place: Place): OpenWait | undefined {
  const key = state.waits.size === 0 ? "" : placeKey(place);
  const wait = state.waits.get(key);
  if (wait === undefined) {
    return undefined;
  }
  state.waits.delete(key);
  dropTimer(state, wait.timerId);
  const listeners = wait.signal === undefined ? undefined : state.listeners.get(wait.signal);
  listeners?.delete(key);
  if (wait.signal !== undefined && listeners?.size === 0) {
    state.listeners.delete(wait.signal);
  }
  return wait;
}

/** A broadcast that ends several waits is gone with the first. */
export function takeSignal(state: ExecutionState, name: string, seq: number): void {
  const kept = state.signals.get(name);
  if (kept === undefined) {
    return;
  }
  const rest = kept.filter((signal) => signal.seq !== seq);
  if (rest.length === 0) {
    state.signals.delete(name);
  } else {
    state.signals.set(name, rest);
  }
}
