/** How tokens come to a step and are taken by its visits. */
import { assert } from "../core/assert.ts";
import type { Token } from "./record.ts";
import type { ExecutionState } from "./state.ts";

export function addToken(state: ExecutionState, step: string, arc: string): void {
  const token = { arc, order: state.tokenCount++ };
  const tokens = state.waiting.get(step);
  if (tokens === undefined) {
    state.waiting.set(step, [token]);
  } else {
    tokens.push(token);
  }
}

/** Takes the tokens that meet: of a step that joins `all` the oldest of each arc. */
export function takeTokens(state: ExecutionState, step: string, count: number): void {
  const tokens = state.waiting.get(step) ?? [];
  const taken = new Set<Token>();
  const arcs = new Set<string>();
  const isAll = state.graph.step(step).join === "all";
  for (const token of tokens) {
    if (taken.size < count && !(isAll && arcs.has(token.arc))) {
      taken.add(token);
      arcs.add(token.arc);
    }
  }
  assert(taken.size === count, `${count} tokens wait at ${step}`);
  const rest = tokens.filter((token) => !taken.has(token));
  if (rest.length === 0) {
    state.waiting.delete(step);
  } else {
    state.waiting.set(step, rest);
  }
}
