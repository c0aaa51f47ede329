/** A service that fails at first, and a task that tries again. */
import { arcs, RETRY, same } from "../playbook.ts";
import type { Sink } from "../sink.ts";
import type { Workload } from "../workload.ts";

export function flaky(sink: Sink): Workload {
  const workflow = [
    {
      step: "call",
      tool: { kind: "http", url: `${sink.url}/flaky/{{ execution_id }}`, spec: RETRY },
      ...arcs(["after"]),
    },
    {
      step: "after",
      tool: {
        kind: "javascript",
        input: { answer: "{{ call.body.answer }}" },
        code: "return answer;",
        spec: RETRY,
      },
    },
  ];
  return {
    name: "flaky",
    weight: 1,
    playbooks: [{ path: "chaos/flaky", workflow }],
    ends: ["COMPLETED"],
    verify: ({ results }) => same("after", results["after"], 42),
  };
}
