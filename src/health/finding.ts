/**
 * What a check says of a component. Every check has the same shape: it finds facts, names what is wrong
 * with the cause, and what to do about it.
 */
import type { JsonObject } from "../core/json.ts";

/** From best to worst; `not_configured` is not checked and says nothing about the platform. */
export const HEALTH_STATUSES = ["not_configured", "ok", "unknown", "degraded", "down"] as const;
export type HealthStatus = (typeof HEALTH_STATUSES)[number];

export interface Problem {
  readonly status: "unknown" | "degraded" | "down";
  /** The cause, in one sentence. */
  readonly message: string;
  /** What to do, in one sentence. */
  readonly nextStep: string;
}

export interface Finding {
  /** `nats`, or of several of a kind `pool/cpu-01`. */
  readonly component: string;
  /** What there is to say when nothing is wrong. */
  readonly summary: string;
  /** Empty: it is well. */
  readonly problems: readonly Problem[];
  /** Numbers and names behind the sentences; units are in the names. */
  readonly facts: JsonObject;
}

export interface CheckContext {
  /** Aborts when the check's time is over. */
  readonly signal: AbortSignal;
  /** Notes what the check waits for, for the message of a check that was too slow. */
  readonly doing: (what: string) => void;
}

export interface Check {
  readonly component: string;
  /** @throws CheckFailure when there is nothing more to find out. */
  run(context: CheckContext): Promise<readonly Finding[]>;
}

/** The one thing that is wrong, and after which nothing else can be found out. */
export class CheckFailure extends Error {
  override readonly name = "CheckFailure";
  readonly problem: Problem;

  constructor(
    message: string,
    nextStep: string,
    {
      status = "down",
      cause,
    }: { readonly status?: Problem["status"]; readonly cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.problem = { status, message, nextStep };
  }
}

export function degraded(message: string, nextStep: string): Problem {
  return { status: "degraded", message, nextStep };
}

export function down(message: string, nextStep: string): Problem {
  return { status: "down", message, nextStep };
}

/** `pool` of `pool/cpu-01`. */
export function kindOf(component: string): string {
  return component.split("/", 1)[0] ?? component;
}

/** The worst of them; `ok` when there is none. */
export function worst(statuses: readonly HealthStatus[]): HealthStatus {
  const rank = (status: HealthStatus): number => HEALTH_STATUSES.indexOf(status);
  return statuses.reduce((a, b) => (rank(b) > rank(a) ? b : a), "ok" as HealthStatus);
}

/**
 * Of a check's time, what the first connection may take: the rest is for finding out who it is that does
 * not answer.
 */
export const CONNECT_SHARE = 0.5;
