/**
 * Where a span belongs, in the form of W3C's `traceparent` header. Ids are digests of ids that the platform has anyway:
 * any server or worker can continue a trace, after any crash, and nothing has to be kept for it.
 */
import { createHash } from "node:crypto";

export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits: the parent of what follows. */
  readonly spanId: string;
  readonly isSampled: boolean;
}

const FORM = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const SAMPLED_FLAG = 1;

/** Undefined for what is not a valid header: it is ignored then, as W3C wants. */
export function parseTraceparent(text: string | null | undefined): TraceContext | undefined {
  const [, version, traceId = "", spanId = "", flags = "", rest] =
    FORM.exec(text?.trim() ?? "") ?? [];
  const isKnown = version === "00" ? rest === undefined : version !== undefined && version !== "ff";
  return isKnown && /[1-9a-f]/.test(traceId) && /[1-9a-f]/.test(spanId)
    ? { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & SAMPLED_FLAG) === SAMPLED_FLAG }
    : undefined;
}

export function formatTraceparent({ traceId, spanId, isSampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${isSampled ? "01" : "00"}`;
}

/** Of an execution that nobody outside asked for, and of all below it. */
export function traceIdOf(rootId: string): string {
  return digest(`trace ${rootId}`, 32);
}

export function executionSpanId(executionId: string): string {
  return digest(`execution ${executionId}`, 16);
}

/** Of one visit of a step. */
export function stepSpanId(executionId: string, step: string, visit: number): string {
  return digest(`step ${executionId} ${visit} ${step}`, 16);
}

/** Of one try of a task. @param run counts the tries that the command's attempt has made, from 1. */
export function taskSpanId(commandId: string, attempt: number, run: number): string {
  return digest(`task ${commandId} ${attempt} ${run}`, 16);
}

function digest(text: string, digits: number): string {
  return createHash("sha256").update(`noetl ${text}`).digest("hex").slice(0, digits);
}

/** The same for all servers. @param ratio 0 to 1: share of the traces that are recorded. */
export function isChosen(traceId: string, ratio: number): boolean {
  return Number.parseInt(traceId.slice(-8), 16) < ratio * 2 ** 32;
}
