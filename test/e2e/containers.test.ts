/**
 * The short form of `bun run cycles`: workers are killed at random moments of a container's life. A failing seed
 * is in the message; `TEST_SEED=… bun test test/e2e/containers.test.ts` repeats its choices.
 */
import { expect, test } from "bun:test";
import { noPodman } from "../support/podman.ts";
import { runCycles } from "./containers/cycles.ts";

const SEED = Number(process.env["TEST_SEED"] ?? Date.now() % 1_000_000);
const LIMIT_MS = 300_000;

test.skipIf(noPodman !== undefined)(
  "a killed worker leaves no container and no lease, and every command ends once",
  async () => {
    const { orphans, leases, endedOnce, faults } = await runCycles({
      runtime: "podman",
      cycles: 6,
      seed: SEED,
    });
    expect({ seed: SEED, faults }).toEqual({ seed: SEED, faults: [] });
    expect({ orphans, leases, endedOnce }).toEqual({ orphans: [], leases: 0, endedOnce: 6 });
  },
  LIMIT_MS,
);
