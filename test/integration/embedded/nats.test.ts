import { expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { startNats } from "../../support/nats.ts";
import { waitFor } from "../../support/wait.ts";

test("a killed nats-server comes back on the same port, even without its store", async () => {
  await using nats = await startNats();
  const firstPid = nats.pid;
  rmSync(nats.storeDir, { recursive: true });
  process.kill(firstPid, "SIGKILL");
  const answer = await waitFor("JetStream to be healthy again", async () => {
    const response = await fetch(`${nats.monitorUrl}/healthz?js-enabled-only=true`);
    return nats.pid !== firstPid && response.ok ? response : undefined;
  });
  expect(answer.status).toBe(200);
  expect(existsSync(nats.storeDir)).toBe(true);
});

test("stop() ends the process and is harmless when repeated", async () => {
  const nats = await startNats();
  const { pid } = nats;
  await nats.stop();
  await nats.stop();
  expect(existsSync(`/proc/${pid}`)).toBe(false);
});
