/**
 * The short form of `bun run chaos`: a few random points of failure under a mixed load. A failing
 * seed is in the message; `TEST_SEED=… bun test test/e2e/chaos.test.ts` repeats its choices.
 */
import { expect, test } from "bun:test";
import { runChaos } from "./chaos/run.ts";
import { faultsOf } from "./chaos/verdict.ts";

const SEED = Number(process.env["TEST_SEED"] ?? Date.now() % 1_000_000);
const LIMIT_MS = 300_000;
/** Those that are over soon; `bun run chaos` has them all. */
const FAULTS = [
  "kill server",
  "kill worker",
  "kill runner",
  "kill postgres",
  "kill nats-server",
  "wipe JetStream",
] as const;

test(
  "kills at random points lose, double and stick nothing",
  async () => {
    const { points, accepted, verdict } = await runChaos({
      seed: SEED,
      points: 8,
      serverCount: 1,
      workerCount: 2,
      inFlight: 6,
      faults: FAULTS,
    });
    expect(points).toHaveLength(8);
    expect(accepted).toBeGreaterThan(0);
    expect({ seed: SEED, faults: faultsOf(verdict) }).toEqual({ seed: SEED, faults: [] });
  },
  LIMIT_MS,
);

test(
  "two servers on one database continue each execution once, whichever of them is killed",
  async () => {
    const { accepted, verdict } = await runChaos({
      seed: SEED + 1,
      points: 4,
      serverCount: 2,
      workerCount: 2,
      inFlight: 6,
      faults: ["kill server", "kill worker"],
    });
    expect(accepted).toBeGreaterThan(0);
    expect({ seed: SEED, faults: faultsOf(verdict) }).toEqual({ seed: SEED, faults: [] });
  },
  LIMIT_MS,
);
