/** Waits, signals, retries and reruns over HTTP, on a real database. */
import { expect, test } from "bun:test";
import { waitFor } from "../../support/wait.ts";
import type { Platform } from "./platform.ts";
import { startPlatform } from "./platform.ts";

const PLAYBOOK = `apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: ask, path: tests/ask }
workload: { limit: 1h }
workflow:
  - step: start
    tool: { kind: wait, signal: "go-{{ topic }}", timeout: "{{ limit }}" }
    set: { ctx.by: "{{ start.by }}" }
    next: [pause]
  - step: pause
    tool: { kind: wait, until: "2020-01-01" }
`;

async function execute(platform: Platform, payload: object): Promise<string> {
  await platform.call("POST", "/api/catalog/register", { content: PLAYBOOK });
  const { body } = await platform.call("POST", "/api/execute", { path: "tests/ask", payload });
  return body.execution_id;
}

async function untilEnded({ call }: Platform, id: string): Promise<string> {
  return await waitFor(`the end of ${id}`, async () => {
    const { body } = await call("GET", `/api/executions/${id}/status`);
    return body.is_terminal ? body.status : undefined;
  });
}

test("a cancelled wait is retried, signalled and seen to its end", async () => {
  await using platform = await startPlatform();
  const { call, stream } = platform;
  const id = await execute(platform, { topic: "a" });
  await call("POST", `/api/executions/${id}/stop`, { reason: "by hand" });
  expect(await untilEnded(platform, id)).toBe("CANCELLED");
  const late = await call("POST", `/api/executions/${id}/signals/go-a`);
  expect(late).toMatchObject({ status: 409, body: { code: "EXECUTION_FINISHED" } });

  const retried = await call("POST", `/api/executions/${id}/retry`, { reason: "go on" });
  expect(retried.body).toMatchObject({ execution_id: id, status: "RUNNING" });
  const again = await call("POST", `/api/executions/${id}/retry`);
  expect(again).toMatchObject({ status: 409, body: { code: "EXECUTION_RUNNING" } });
  await call("POST", `/api/executions/${id}/signals/go-a`, { by: "Ada" });
  expect(await untilEnded(platform, id)).toBe("COMPLETED");
  const text = await stream(`/api/executions/${id}/events/stream`);
  const types = [...text.matchAll(/"event_type":"(playbook\.\w+)"/g)].map(([, type]) => type);
  expect(types).toEqual([
    "playbook.started",
    "playbook.cancelling",
    "playbook.cancelled",
    "playbook.resumed",
    "playbook.completed",
  ]);
  expect(text).toContain("event: end");
});

test("a waiting execution says so; a signal ends it, and a rerun starts it over", async () => {
  await using platform = await startPlatform();
  const { call } = platform;
  const id = await execute(platform, { topic: "b" });
  const detail = await call("GET", `/api/executions/${id}`);
  expect(detail.body.waiting).toMatchObject([{ step: "start", kind: "signal", signal: "go-b" }]);
  const signal = await call("POST", `/api/executions/${id}/signals/go-b`, { by: "Ada" });
  expect(signal.body).toMatchObject({ status: "delivered", waits: 1 });
  expect(await untilEnded(platform, id)).toBe("COMPLETED");
  const variables = await call("GET", `/api/executions/${id}/events?event_type=ctx.updated`);
  expect(variables.body.events[0].context).toEqual({ values: { by: "Ada" } });

  const { body: rerun } = await call("POST", `/api/executions/${id}/rerun`, {
    payload: { topic: "c" },
  });
  const { body: listed } = await call("GET", `/api/executions?origin_id=${id}`);
  expect(listed).toMatchObject([
    { execution_id: rerun.execution_id, origin: { execution_id: id, kind: "rerun" } },
  ]);
  expect((await call("GET", `/api/executions/${rerun.execution_id}`)).body).toMatchObject({
    workload: { topic: "c", limit: "1h" },
    waiting: [{ signal: "go-c" }],
  });
  await call("POST", `/api/executions/${rerun.execution_id}/stop`);
  expect(await untilEnded(platform, rerun.execution_id)).toBe("CANCELLED");
});
