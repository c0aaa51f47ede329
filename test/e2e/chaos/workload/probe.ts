/** The smallest execution that goes through all parts: shows when they work together again. */
import type { Workload } from "../workload.ts";

export function probe(): Workload {
  const workflow = [{ step: "only", tool: { kind: "noop" } }];
  return {
    name: "probe",
    weight: 0,
    playbooks: [{ path: "chaos/probe", workflow }],
    ends: ["COMPLETED"],
  };
}
