/** The commands that talk to a server, with a real one. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { OPERATOR_TOKEN, startPlatform } from "../server/platform.ts";
import { createCli } from "./context.ts";

const PLAYBOOK = `apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: job, path: tests/job}
workload: {n: 2}
workflow:
  - step: start
    tool: {kind: python, code: "result = 1", input: {n: "{{ workload.n }}"}}
    set: {ctx.total: "{{ start.total }}"}
    next: [{step: each}]
  - step: each
    loop: {in: "{{ start.rows }}", iterator: row, spec: {mode: parallel}}
    tool:
      - {name: read, kind: python, code: "result = 2", input: {id: "{{ iter.row }}"}}
      - {name: mark, kind: noop}
    next: [{step: approve}]
  - step: approve
    tool: {kind: wait, signal: ok}
    next: [{step: end}]
  - step: end
    tool: {kind: noop, result: {total: "{{ ctx.total }}", by: "{{ approve.payload.by }}"}}
`;

/** Ends each command of the execution as it comes, by what `answers` has for its step and item. */
async function work(
  { call, orchestrator }: Awaited<ReturnType<typeof startPlatform>>,
  id: string,
  answers: Readonly<Record<string, unknown>>,
): Promise<void> {
  const watched = orchestrator.watch(id as ExecutionId, {
    afterSeq: 0,
    signal: AbortSignal.timeout(20_000),
  });
  for await (const { event } of watched) {
    if (event.type === "command.issued") {
      const place = event.index === undefined ? event.step : `${event.step}[${event.index}]`;
      await call("POST", "/api/events", {
        execution_id: id,
        event_type: "call.done",
        meta: { command_id: event.commandId },
        payload: { result: answers[place] ?? { status: "ok" } },
      });
    }
    if (event.type === "wait.started") {
      await call("POST", `/api/executions/${id}/signals/ok`, { by: "Ada" });
    }
  }
}

test("an execution is recorded as a test, and the test passes", async () => {
  await using platform = await startPlatform();
  const dir = makeScratchDir("record");
  await Bun.write(join(dir, "job.yaml"), PLAYBOOK);
  const { run } = createCli({ NOETL_SERVER_URL: await platform.listen() });
  expect((await run("catalog", "register", join(dir, "job.yaml"))).out).toContain("version 1");
  const started = await run("execute", "playbook", "tests/job", "--set", "n=5", "-j");
  const { execution_id: id } = JSON.parse(started.out);
  const marked = { mark: { status: "ok" } };
  await work(platform, id, {
    start: { rows: [7, 8], total: 15 },
    "each[0]": { read: { id: 7 }, ...marked },
    "each[1]": { read: { id: 8 }, ...marked },
    end: { total: 15, by: "Ada" },
  });
  const recorded = await run("test", "record", id, "--name", "as it was", "--playbook", "job.yaml");
  expect(recorded.reason).toBe("ok");
  expect(recorded.out).toContain(`# Recorded from execution ${id} of tests/job version 1.`);
  await Bun.write(join(dir, "job.test.yaml"), recorded.out);
  const { reason, out } = await run("test", join(dir, "job.yaml"));
  expect(out).toContain("✓ as it was");
  expect(reason).toBe("ok");
  expect((await run("execute", "status", id)).out).toContain("COMPLETED");
  expect((await run("catalog", "list", "Playbook")).out).toContain("tests/job");
});

test("operators query the platform's database; cleanup ends what hangs", async () => {
  await using platform = await startPlatform();
  const url = await platform.listen();
  const operator = createCli({ NOETL_SERVER_URL: url, NOETL_OPERATOR_TOKEN: OPERATOR_TOKEN });
  const table = await operator.run("query", "SELECT 1 AS one, 'x' AS two");
  expect([table.out, table.notes]).toEqual(["ONE  TWO\n1    x", "1 row"]);
  const json = await operator.run("query", "SELECT count(*) AS n FROM catalog", "-f", "json");
  expect(JSON.parse(json.out)).toEqual([{ n: 0 }]);
  const refused = await createCli({ NOETL_SERVER_URL: url }).run("query", "SELECT 1");
  expect([refused.reason, refused.notes]).toEqual([
    "failed",
    expect.stringContaining("Only operators"),
  ]);
  const cleaned = await operator.run("cleanup", "--older-than-minutes", "60", "--dry-run");
  expect(cleaned.out).toContain("Would cancel 0 execution(s)");
});
