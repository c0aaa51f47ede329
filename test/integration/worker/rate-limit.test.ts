import { afterEach, expect, test } from "bun:test";
import type { CommandId } from "../../../src/core/ids.ts";
import type { RateLimit } from "../../../src/dsl/playbook.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import { startNats } from "../../support/nats.ts";
import { waitFor } from "../../support/wait.ts";
import { resultOf, TestPlatform, task } from "./platform.ts";

const nats = await startNats();
let count = 0;
let current: TestPlatform | undefined;

async function start(): Promise<TestPlatform> {
  current = await TestPlatform.start(nats.url, `r${++count}`);
  return current;
}

afterEach(async () => {
  await current?.[Symbol.asyncDispose]();
  current = undefined;
});

function limited(rateLimit: Partial<RateLimit> = {}) {
  const limit = { perSecond: 2, burst: 3, ...rateLimit };
  return task("t", { do: "give", value: "done" }, { rateLimit: limit });
}

test("a limited task asks for a permit with its own key, and runs when it has one", async () => {
  const platform = await start();
  platform.runWorker();
  platform.permits.push({ isGranted: true, waitMs: 30 });
  const id = await platform.queue([limited()]);
  expect(resultOf(await platform.outcome(id))).toBe("done");
  expect(platform.demands).toEqual([
    { key: "a/b/step/t", perSecond: 2, burst: 3, isPromised: false },
  ]);
});

test("each try takes a permit, with the key that its template gives", async () => {
  const platform = await start();
  platform.runWorker();
  const problem = { kind: "connection", code: "X", message: "no", retryable: true };
  const retry = { action: "retry", attempts: 3, backoff: "none", delay: 0 } as const;
  const policy = { mode: "exclusive", rules: [{ ...retry, set: [], hasJitter: false }] } as const;
  const rateLimit = { key: "api-{{ n }}", perSecond: 1, burst: 1 };
  const id = await platform.queue([
    task("t", { do: "fail", failure: problem }, { rateLimit, policy }),
  ]);
  expect((await platform.outcome(id)).status).toBe("error");
  expect(platform.demands.map(({ key }) => key)).toEqual(["api-7", "api-7", "api-7"]);
});

test("a long wait gives the slot back, and the task comes back as promised", async () => {
  const platform = await start();
  platform.runWorker();
  platform.permits.push({ isGranted: false, waitMs: 60_000 });
  const id = await platform.queue([limited({ key: "k" })]);
  const outcome = await platform.outcome(id);
  expect(outcome).toMatchObject({
    status: "yielded",
    delayMs: 60_000,
    pipeline: { position: 0, tries: 0, permitKey: "k" },
  });
  const pipeline = outcome.status === "yielded" ? outcome.pipeline : PIPELINE_START;
  const again = await platform.queue([limited({ key: "k" }), task("u", { do: "give" })], {
    pipeline,
  });
  expect((await platform.outcome(again)).status).toBe("ok");
  expect(platform.demands.map(({ isPromised }) => isPromised)).toEqual([false, true]);
});

test("a cancel ends the wait for a permit", async () => {
  const platform = await start();
  const { worker } = platform.runWorker({ slots: 1 });
  platform.permits.push({ isGranted: true, waitMs: 60_000 });
  const id = await platform.queue([limited()]);
  await waitFor("the demand", () => platform.demands.length === 1);
  platform.direct({ kind: "cancel", commandId: id as CommandId, attempt: 1 });
  expect(await platform.outcome(id)).toEqual({ status: "cancelled" });
  await waitFor("a free slot", () => worker.status.freeSlots === 1);
});

test("a key that gives no text fails the task", async () => {
  const platform = await start();
  platform.runWorker();
  const id = await platform.queue([limited({ key: "{{ missing }}" })]);
  expect(await platform.outcome(id)).toMatchObject({
    status: "error",
    error: { code: "RATE_LIMIT_KEY", retryable: false },
  });
  expect(platform.demands).toEqual([]);
});

test("a task waits while no server answers", async () => {
  const platform = await start();
  platform.runWorker();
  await platform.stopServer();
  const id = await platform.queue([limited()]);
  await platform.startServer();
  expect(resultOf(await platform.outcome(id))).toBe("done");
});
