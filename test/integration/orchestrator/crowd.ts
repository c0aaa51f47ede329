/**
 * A server and its worker in a process of their own, to be killed at any moment: starts executions of
 * `test/crowd` for ever under a few keys until it is told the last number, and runs whatever command
 * it can get. Arguments: database URL, name, how many executions to start.
 */
import type { CommandId, WorkerId } from "../../../src/core/ids.ts";
import { ok, report, startServer } from "./harness.ts";

const [url = "", name = "", count = "0"] = process.argv.slice(2);
const server = startServer(url, { leaseMs: 500, heartbeatIntervalMs: 100 });
const workerId = `worker-${name}` as WorkerId;
const done = new Set<CommandId>();

async function start(): Promise<void> {
  for (let n = 0; n < Number(count); n++) {
    const payload = { key: n % 3, name, n };
    const dedup = { key: `${name}-${n}` };
    await server.orchestrator.start({ path: "test/crowd", payload, dedup });
  }
}

async function work(): Promise<never> {
  for (;;) {
    for (const held of server.bus.held()) {
      if (done.has(held.commandId)) {
        continue;
      }
      const [outcome] = await server.orchestrator.claim(workerId, [held]);
      if (outcome?.status === "claimed") {
        await report(server, outcome.command, ok(1), workerId);
      }
      if (outcome?.status !== "later") {
        done.add(held.commandId);
      }
    }
    await Bun.sleep(2);
  }
}

void start();
await work();
