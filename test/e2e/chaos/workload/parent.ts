/** Sub-playbooks, one by one and in a loop. */
import { arcs, eachItem, RETRY, same } from "../playbook.ts";
import type { Workload } from "../workload.ts";

const CHILD = "chaos/parent/child";

export function parent(): Workload {
  return {
    name: "parent",
    weight: 2,
    playbooks: [
      { path: CHILD, workflow: childSteps() },
      { path: "chaos/parent", workflow: parentSteps() },
    ],
    ends: ["COMPLETED"],
    verify: ({ results }) => same("after", results["after"], [70, 10, 20, 30]),
  };
}

function parentSteps(): readonly object[] {
  return [
    {
      step: "one",
      tool: { kind: "playbook", path: CHILD, input: { n: 7 } },
      ...arcs(["many"]),
    },
    {
      step: "many",
      ...eachItem([1, 2, 3], 2),
      tool: { kind: "playbook", path: CHILD, input: { n: "{{ item }}" } },
      ...arcs(["after"]),
    },
    {
      step: "after",
      tool: {
        kind: "python",
        input: { one: "{{ one }}", many: "{{ many.results }}" },
        code: "result = [one, *many]",
        spec: RETRY,
      },
    },
  ];
}

function childSteps(): readonly object[] {
  return [
    {
      step: "first",
      tool: { kind: "python", input: { n: "{{ workload.n }}" }, code: "result = n", spec: RETRY },
      ...arcs(["last"]),
    },
    {
      step: "last",
      tool: {
        kind: "javascript",
        input: { n: "{{ first }}" },
        code: "return n * 10;",
        spec: RETRY,
      },
    },
  ];
}
