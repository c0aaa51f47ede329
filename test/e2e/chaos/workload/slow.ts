/** Long enough to be hit by most kills. */
import { RETRY, same } from "../playbook.ts";
import type { Workload } from "../workload.ts";

export function slow(): Workload {
  const code = "import time\ntime.sleep(1.5)\nresult = 'slept'";
  const workflow = [{ step: "sleep", tool: { kind: "python", code, spec: RETRY } }];
  return {
    name: "slow",
    weight: 2,
    playbooks: [{ path: "chaos/slow", workflow }],
    ends: ["COMPLETED"],
    verify: ({ results }) => same("sleep", results["sleep"], "slept"),
  };
}
