/**
 * The join rule: which step the tokens at rest may enter next. See README.md, "Joins".
 *
 * A waiting group is all tokens that rest at one step. A token runs at a step, or rests at one.
 */

import { arcSource, START } from "./graph.ts";
import type { Token } from "./record.ts";
import type { ExecutionState } from "./state.ts";

export interface Ready {
  readonly step: string;
  /** How many of its tokens meet. */
  readonly tokenCount: number;
}

/** The ready group whose first token is the oldest; undefined when all must wait. */
export function nextReady(state: ExecutionState): Ready | undefined {
  let best: { readonly ready: Ready; readonly order: number } | undefined;
  for (const [step, tokens] of state.waiting) {
    const order = oldest(tokens);
    if (best === undefined || order < best.order) {
      const tokenCount = readyCount(state, step, tokens);
      best = tokenCount === 0 ? best : { ready: { step, tokenCount }, order };
    }
  }
  return best?.ready;
}

/**
 * A step that joins `all` and whose missing arcs no token can reach any more. Tokens that rest at the
 * step itself cannot: they need the step to run. To be asked when no group is ready: if nothing runs
 * either, the groups that join `all` wait for each other in vain.
 */
export function impossibleJoin(state: ExecutionState): string | undefined {
  for (const [step, tokens] of state.waiting) {
    const isStuck = state.running.size === 0 || !canComplete(state, step, tokens);
    if (joinOf(state, step) === "all" && isStuck) {
      return step;
    }
  }
  return undefined;
}

function joinOf(state: ExecutionState, step: string): "auto" | "all" | "any" {
  const { join } = state.graph.step(step);
  return join !== "any" && state.graph.incoming(step).length > 1 ? join : "any";
}

function oldest(tokens: readonly Token[]): number {
  return tokens[0]?.order ?? Number.POSITIVE_INFINITY;
}

/** How many of the tokens may enter now; 0 while they must wait. */
function readyCount(state: ExecutionState, step: string, tokens: readonly Token[]): number {
  switch (joinOf(state, step)) {
    case "any":
      return 1;
    case "all":
      return allCount(state, step, tokens);
    case "auto":
      return isBlocked(state, step, tokens) ? 0 : tokens.length;
  }
}

/** The first token of an execution needs no company. */
function allCount(state: ExecutionState, step: string, tokens: readonly Token[]): number {
  const arcs = new Set(tokens.map(({ arc }) => arc));
  const incoming = state.graph.incoming(step);
  if (incoming.every((arc) => arcs.has(arc))) {
    return arcs.size;
  }
  return tokens[0]?.arc === START ? 1 : 0;
}

function isBlocked(state: ExecutionState, step: string, tokens: readonly Token[]): boolean {
  if (isReachedByRunning(state, step)) {
    return true;
  }
  for (const [other, others] of state.waiting) {
    if (other !== step && state.graph.reaches(other, step)) {
      if (!goesBefore(state, { step, tokens }, { step: other, tokens: others })) {
        return true;
      }
    }
  }
  return false;
}

interface Group {
  readonly step: string;
  readonly tokens: readonly Token[];
}

/**
 * Whether a group need not wait for another that could reach it: the two wait for each other, no
 * running token will change that, and it is the older one, or the other cannot move by itself.
 */
function goesBefore(state: ExecutionState, group: Group, other: Group): boolean {
  return (
    state.graph.reaches(group.step, other.step) &&
    !isReachedByRunning(state, other.step) &&
    (joinOf(state, other.step) === "all" || oldest(group.tokens) < oldest(other.tokens))
  );
}

function isReachedByRunning(state: ExecutionState, step: string): boolean {
  for (const running of state.running.keys()) {
    if (running !== step && state.graph.reaches(running, step)) {
      return true;
    }
  }
  return false;
}

function canComplete(state: ExecutionState, step: string, tokens: readonly Token[]): boolean {
  if (allCount(state, step, tokens) > 0) {
    return true;
  }
  const arcs = new Set(tokens.map(({ arc }) => arc));
  const missing = state.graph.incoming(step).filter((arc) => !arcs.has(arc));
  const live = [...state.running.keys(), ...[...state.waiting.keys()].filter((s) => s !== step)];
  return missing.every((arc) => {
    const source = arcSource(arc);
    return live.some((at) => at === source || state.graph.reaches(at, source));
  });
}
