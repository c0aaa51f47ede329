/**
 * Goal: no interleaving of losses, repetitions, deaths and cancels breaks an execution.
 * Method: thousands of random playbooks in random worlds, see simulator.ts. `TEST_SEED=n` repeats one
 * world, `TEST_SEEDS=n` runs that many.
 */
import { expect, test } from "bun:test";
import type { Tally } from "./simulator.ts";
import { simulate } from "./simulator.ts";

const SEED_COUNT = Number(process.env["TEST_SEEDS"] ?? 5000);
const only = process.env["TEST_SEED"];
const first = only === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(only);
const count = only === undefined ? SEED_COUNT : 1;

test("executions survive any order of losses, repetitions, deaths, cancels and retries", () => {
  const tallies: Tally[] = [];
  for (let seed = first; seed < first + count; seed++) {
    try {
      tallies.push(simulate(seed));
    } catch (error) {
      throw new Error(`TEST_SEED=${seed} repeats this`, { cause: error });
    }
  }
  expect(tallies.length).toBe(count);
  if (count >= SEED_COUNT) {
    const statuses = new Set(tallies.map(({ status }) => status));
    expect(statuses).toEqual(new Set(["completed", "failed", "cancelled"]));
    expect(tallies.some(({ staleCount }) => staleCount > 0)).toBe(true);
    expect(tallies.some(({ signalCount }) => signalCount > 0)).toBe(true);
    expect(tallies.some((t) => t.retryCount > 0 && t.status === "completed")).toBe(true);
  }
}, 60_000);
