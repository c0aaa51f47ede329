/** What a row of `timer` says: an input that an execution must get, now or at its time. */
import type { TimerId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { ChildEnd, EngineInput, RetryRequest } from "../engine/decision.ts";
import type { TimerPurpose } from "../engine/event.ts";

export type WakeUp =
  | { readonly kind: "timer"; readonly purpose: TimerPurpose }
  | { readonly kind: "child_done"; readonly child: ChildEnd }
  | { readonly kind: "cancel"; readonly reason: string }
  | ({ readonly kind: "retry" } & RetryRequest);

export function encodeWakeUp(wakeUp: WakeUp): string {
  return JSON.stringify(wakeUp);
}

/** The engine's input that a row stands for. Rows come from {@link encodeWakeUp} only. */
export function toInput(wakeUp: WakeUp, timerId: TimerId): EngineInput {
  return wakeUp.kind === "timer" ? { kind: "timer", timerId, purpose: wakeUp.purpose } : wakeUp;
}

/** Undefined for a row that this version does not understand. */
export function decodeWakeUp(value: Json): WakeUp | undefined {
  const kinds: readonly unknown[] = ["timer", "child_done", "cancel", "retry"];
  return isJsonObject(value) && kinds.includes(value["kind"])
    ? (value as unknown as WakeUp)
    : undefined;
}
