/** A parallel loop whose collected result the next step needs. */
import { arcs, eachItem, loopResults, RETRY, same } from "../playbook.ts";
import type { Workload } from "../workload.ts";

const TOTAL = 12;
const SQUARES = [0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121];

export function squares(): Workload {
  const workflow = [
    {
      step: "items",
      ...eachItem(`{{ range(${TOTAL}) | list }}`, 4),
      tool: { kind: "javascript", code: "return item * item;", spec: RETRY },
      ...arcs(["sum"]),
    },
    {
      step: "sum",
      tool: {
        kind: "python",
        input: { squares: "{{ items.results }}" },
        code: "result = sum(squares)",
        spec: RETRY,
      },
    },
  ];
  return {
    name: "squares",
    weight: 2,
    playbooks: [{ path: "chaos/squares", workflow }],
    ends: ["COMPLETED"],
    verify: ({ results }) => [
      ...same("items", loopResults(results["items"]), SQUARES),
      ...same("sum", results["sum"], 506),
    ],
  };
}
