/** Steps one after the other, each with the result of the one before. */
import { arcs, RETRY, same } from "../playbook.ts";
import type { Workload } from "../workload.ts";

const LENGTH = 6;

export function chain(): Workload {
  return {
    name: "chain",
    weight: 2,
    playbooks: [{ path: "chaos/chain", workflow: Array.from({ length: LENGTH }, makeStep) }],
    ends: ["COMPLETED"],
    verify: ({ results }) => same("c5", results["c5"], LENGTH),
  };
}

function makeStep(_: unknown, index: number): object {
  const isJavascript = index % 2 === 0;
  return {
    step: `c${index}`,
    tool: {
      kind: isJavascript ? "javascript" : "python",
      input: { n: index === 0 ? 0 : `{{ c${index - 1} }}` },
      code: isJavascript ? "return n + 1;" : "result = n + 1",
      spec: RETRY,
    },
    ...(index < LENGTH - 1 ? arcs([`c${index + 1}`]) : {}),
  };
}
