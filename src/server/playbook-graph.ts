/** The steps and arcs of a playbook, for pictures. */
import type { Json } from "../core/json.ts";
import type { Arc, Playbook, Step } from "../dsl/playbook.ts";

export function viewGraph(playbook: Playbook): Readonly<Record<string, unknown>> {
  return {
    path: playbook.path,
    description: playbook.description ?? null,
    entry_step: playbook.entryStep,
    final_step: playbook.executor.finalStep ?? null,
    workload: playbook.workload,
    steps: playbook.steps.map(viewGraphStep),
    arcs: playbook.steps.flatMap((step) =>
      step.next.arcs.map((arc, index) => viewArc(step, arc, index)),
    ),
  };
}

function viewGraphStep({ name, description, tasks, loop, pool, join }: Step) {
  return {
    step: name,
    description: description ?? null,
    tools: tasks.map(({ kind }) => kind),
    loop:
      loop === undefined
        ? null
        : { mode: loop.mode, iterator: loop.iterator, cursor: loop.cursor?.kind ?? null },
    pool: pool ?? null,
    join,
  };
}

/** `index` is what `step.exit` calls the arc by. */
function viewArc({ name, next }: Step, { step, when }: Arc, index: number) {
  return { from: name, to: step, index, when: guardText(when), mode: next.mode };
}

function guardText(when: Json | undefined): string | null {
  return when === undefined || typeof when === "string" ? (when ?? null) : JSON.stringify(when);
}
