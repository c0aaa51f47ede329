/** Work that never ends, and limits of time that end it: of a task, a step and an execution. */
import { arcs, same } from "../playbook.ts";
import type { Outcome, Problems, Turn, Workload, World } from "../workload.ts";

/** By name of the playbook: where the limit of two seconds is. */
const LIMITED = {
  task: { tool: { timeout: 2 } },
  step: { spec: { timeout: "2s" } },
  execution: {},
} as const;
type Limited = keyof typeof LIMITED;

export function timeout(): Workload {
  return {
    name: "timeout",
    weight: 1,
    playbooks: limits().map((limited) => ({
      path: pathOf(limited),
      ...(limited === "execution" ? { executor: { spec: { timeout: 2 } } } : {}),
      workflow: stepsOf(LIMITED[limited]),
    })),
    ends: ["FAILED"],
    turn: startOne,
    verify,
  };
}

function limits(): readonly Limited[] {
  return Object.keys(LIMITED) as Limited[];
}

function pathOf(limited: Limited): string {
  return `chaos/timeout/${limited}`;
}

function stepsOf({ tool, ...step }: { readonly tool?: object; readonly spec?: object }): object[] {
  const code = "import time\ntime.sleep(3600)";
  return [
    {
      step: "endless",
      ...step,
      tool: { kind: "python", code, ...tool },
      ...arcs(["never"]),
    },
    { step: "never", tool: { kind: "noop" } },
  ];
}

async function startOne({ world, random, start }: Turn): Promise<void> {
  const limited = random.pick(limits());
  await world.client.ended(await start({ path: pathOf(limited), payload: { limited } }));
}

/** A lost worker may be the end of a task, never of the limit of what is around it. */
async function verify({ world, accepted, results }: Outcome): Promise<Problems> {
  const kind = await errorKind(world, accepted.executionId);
  return [
    ...("never" in results ? ["a step ran after the failure"] : []),
    ...(kind === "worker_lost" || kind === "exit_code" || kind === "internal"
      ? []
      : same("the error's kind", kind, "timeout")),
  ];
}

async function errorKind({ sql }: World, executionId: string): Promise<string | undefined> {
  const [row] = await sql<{ kind: string }>(
    (db) => db`
      SELECT error->>'kind' AS kind FROM noetl.execution WHERE execution_id = ${executionId}`,
  );
  return row?.kind;
}
