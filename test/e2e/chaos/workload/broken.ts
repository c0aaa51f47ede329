/** A failure is a failure, whatever is killed around it. */
import { arcs } from "../playbook.ts";
import type { Workload } from "../workload.ts";

export function broken(): Workload {
  const workflow = [
    { step: "start", tool: { kind: "noop" }, ...arcs(["raise"]) },
    {
      step: "raise",
      tool: { kind: "javascript", code: "throw new Error('as intended');" },
      ...arcs(["never"]),
    },
    { step: "never", tool: { kind: "noop" } },
  ];
  return {
    name: "broken",
    weight: 1,
    playbooks: [{ path: "chaos/broken", workflow }],
    ends: ["FAILED"],
    verify: ({ results }) => ("never" in results ? ["a step ran after the failure"] : []),
  };
}
