/** Rate limits and priorities from end to end: a real bus, a real worker, real rows. */
import { expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { waitFor } from "../../support/wait.ts";
import type { Platform } from "../secrets/platform.ts";
import { playbook, startPlatform } from "../secrets/platform.ts";

interface Ended {
  readonly executionId: ExecutionId;
  readonly timeMs: number;
}

/** When each task ended, in that order. */
async function endsOf({ sql }: Platform): Promise<readonly Ended[]> {
  return await sql<Ended[]>`
    SELECT execution_id AS "executionId", (extract(epoch FROM occurred_at) * 1000)::float8 AS "timeMs"
    FROM noetl.event
    WHERE type = 'call.done'
    ORDER BY occurred_at, execution_id`;
}

async function countEvents({ sql }: Platform, type: string): Promise<number> {
  const rows = await sql`SELECT 1 FROM noetl.event WHERE type = ${type}`;
  return rows.length;
}

async function register({ orchestrator }: Platform, content: string): Promise<void> {
  await orchestrator.registerPlaybook({ content, isStrict: true });
}

const LOOP = playbook(
  "tests/loop",
  `workflow:
- step: start
  loop: { in: "{{ range(9) | list }}", iterator: n, spec: { mode: parallel, max_in_flight: 9 } }
  tool: { kind: noop, spec: { rate_limit: { key: api, per_second: 1, burst: 2 } } }`,
);

const OTHER = playbook("tests/other", "workflow:\n- { step: start, tool: { kind: noop } }");

test("the items of a loop keep to the rate, and who waits long holds no slot", async () => {
  await using platform = await startPlatform();
  const running = platform.run(LOOP);
  await waitFor("a task that gave its slot back", async () => {
    return (await countEvents(platform, "command.yielded")) > 0;
  });
  expect((await platform.run(OTHER)).status).toBe("COMPLETED");
  const { id, status } = await running;
  expect(status).toBe("COMPLETED");
  const ends = (await endsOf(platform)).filter(({ executionId }) => executionId === id);
  expect(ends).toHaveLength(9);
  // Two at once, then seven more a second apart; the first may be a little late.
  const tookMs = (ends.at(-1)?.timeMs ?? 0) - (ends[0]?.timeMs ?? 0);
  expect(tookMs).toBeGreaterThan(6000);
}, 60_000);

test("a task that waits for a permit can be cancelled", async () => {
  await using platform = await startPlatform();
  const limit = "{ key: rare, per_hour: 1 }";
  const content = playbook(
    "tests/rare",
    `workflow:\n- { step: start, tool: { kind: noop, rate_limit: ${limit} } }`,
  );
  expect((await platform.run(content)).status).toBe("COMPLETED");
  const { executionId } = await platform.orchestrator.start({ path: "tests/rare", payload: {} });
  await waitFor("the wait", async () => (await countEvents(platform, "command.yielded")) === 1);
  await platform.orchestrator.cancel(executionId, { reason: "test", cascade: true });
  await waitFor("the end", async () => {
    const { body } = await platform.call("GET", `/api/executions/${executionId}`);
    return body["status"] === "CANCELLED";
  });
  expect(await platform.sql`SELECT 1 FROM noetl.command`).toHaveLength(0);
}, 60_000);

test("urgent commands overtake a backlog whose notifications were sent before theirs", async () => {
  await using platform = await startPlatform();
  await register(
    platform,
    playbook(
      "tests/nap",
      `workflow:\n- { step: start, tool: { kind: shell, command: "sleep 0.05" } }`,
    ),
  );
  const start = (priority: number) => ({ path: "tests/nap", payload: {}, priority });
  const priorities = [...Array(80).fill(5), ...Array(6).fill(9), ...Array(4).fill(1)];
  const started = await platform.orchestrator.startBatch(priorities.map(start));
  const ids = started.map((one) =>
    one.status === "fulfilled" ? one.value.executionId : undefined,
  );
  const ends = await waitFor("the end of all", async () => {
    const found = await endsOf(platform);
    return found.length === priorities.length ? found : undefined;
  });
  const order = ends.map(({ executionId }) => priorities[ids.indexOf(executionId)]);
  // Four slots were taken when the urgent ones came, and four run at once.
  expect(order.lastIndexOf(9)).toBeLessThan(4 + 4 + 6 + 4);
  expect(order.indexOf(1)).toBeGreaterThan(80 + 6 - 5);
}, 60_000);
