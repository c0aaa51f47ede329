/** Work that only a cancel ends. */
import { sleep } from "../../../../src/core/clock.ts";
import { RETRY } from "../playbook.ts";
import type { Turn, Workload } from "../workload.ts";

export function endless(): Workload {
  const code = "import time\ntime.sleep(3600)";
  const workflow = [{ step: "sleep", tool: { kind: "python", code, spec: RETRY } }];
  return {
    name: "endless",
    weight: 1,
    playbooks: [{ path: "chaos/endless", workflow }],
    ends: ["CANCELLED"],
    turn: startAndCancel,
  };
}

async function startAndCancel({ world: { client }, random, start }: Turn): Promise<void> {
  const executionId = await start();
  await sleep(random.between(0, 1500));
  // Refused if the answer to an earlier try was lost: it is over already.
  const path = `/api/executions/${executionId}/cancel`;
  await client.call("POST", path, { reason: "chaos" }, [409, 422]);
  await client.ended(executionId);
}
