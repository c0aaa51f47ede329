/**
 * The short form of `bun run cycles`: workers are killed at random moments of a container's life. A failing seed
 * is in the message; `TEST_SEED=… bun test test/e2e/containers.test.ts` repeats its choices.
 */
import { expect, test } from "bun:test";
import { noPodman } from "../support/podman.ts";
import { waitFor } from "../support/wait.ts";
import { runCycles } from "./containers/cycles.ts";
import { PLAYBOOK, startWorld } from "./containers/world.ts";

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

test.skipIf(noPodman !== undefined)(
  "a worker that leaves its containers is followed by one that takes them over",
  async () => {
    await using world = await startWorld("podman", { NOETL_WORKER_DRAIN: "leave" });
    const { api, worker, sql } = world;
    const executionId = await api.execute(PLAYBOOK, { payload: { id: "left", seconds: "3" } });
    await waitFor("the task", () => world.runsOf("left") === 1);
    await worker.restart(() => Promise.resolve(), "stop");
    await api.completed(executionId, 50);
    const events = await sql<{ type: string }[]>`
      SELECT type FROM noetl.event WHERE execution_id = ${executionId} AND type LIKE 'command.%'`;
    expect(events.map(({ type }) => type)).toEqual(["command.issued", "command.adopted"]);
    expect(world.runsOf("left")).toBe(1);
    await waitFor("its removal", () => world.containers().length === 0);
  },
  LIMIT_MS,
);

test.skipIf(noPodman !== undefined)(
  "a task whose worker is frozen goes on under another one of the machine, and under that one alone",
  async () => {
    await using world = await startWorld("podman");
    const { api, worker, other, sql } = world;
    await other.start();
    const executionId = await api.execute(PLAYBOOK, { payload: { id: "frozen", seconds: "20" } });
    await waitFor("the task", () => world.runsOf("frozen") === 1);
    const [holder] = await sql<{ name: string }[]>`
      SELECT name FROM noetl.worker JOIN noetl.command USING (worker_id)`;
    const frozen = holder?.name === "other" ? other : worker;
    frozen.freeze();
    await waitFor("its adoption", async () => {
      const rows = await sql`
        SELECT 1 FROM noetl.event WHERE execution_id = ${executionId} AND type = 'command.adopted'`;
      return rows.length === 1;
    });
    frozen.thaw();
    await api.completed(executionId, 50);
    expect(world.runsOf("frozen")).toBe(1);
    await waitFor("its removal", () => world.containers().length === 0);
  },
  LIMIT_MS,
);
