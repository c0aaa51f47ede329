/** Three branches that meet once. */
import { arcs, RETRY, same } from "../playbook.ts";
import type { Sink } from "../sink.ts";
import type { Workload } from "../workload.ts";

export function fan(sink: Sink): Workload {
  const branch = (step: string, tool: object): object => ({ step, tool, ...arcs(["join"]) });
  const workflow = [
    { step: "start", tool: { kind: "noop" }, ...arcs(["one", "two", "three"], "inclusive") },
    branch("one", { kind: "javascript", code: "return 1;", spec: RETRY }),
    branch("two", { kind: "python", code: "result = 2", spec: RETRY }),
    branch("three", {
      kind: "http",
      method: "POST",
      url: `${sink.url}/effect`,
      json: { execution: "{{ execution_id }}", item: 3 },
    }),
    {
      step: "join",
      tool: {
        kind: "javascript",
        input: { one: "{{ one }}", two: "{{ two }}", three: "{{ three.body.item }}" },
        code: "return one + two + three;",
        spec: RETRY,
      },
    },
  ];
  return {
    name: "fan",
    weight: 1,
    playbooks: [{ path: "chaos/fan", workflow }],
    ends: ["COMPLETED"],
    verify: ({ results }) => same("join", results["join"], 6),
  };
}
