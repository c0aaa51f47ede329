/**
 * `K`: a task in a container, beside `run` of the same runtime with the same flags and the same image, typed by hand.
 * Both in turns, so that what else the machine does falls on both; podman and dockerd are real.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DIALECTS } from "../../src/containers/dialect.ts";
import { runCall } from "../../src/containers/run-words.ts";
import { fillTaskFolder, makeTaskFolder, taskFolder } from "../../src/containers/task-folder.ts";
import { readOwnLimits } from "../../src/containers/ulimits.ts";
import type { TestRuntime } from "../support/container-runtime.ts";
import { shellSpec } from "../support/container-runtime.ts";
import { noDockerd, startDockerd } from "../support/dockerd.ts";
import { noPodman, startPodman } from "../support/podman.ts";
import { runCleanups } from "../support/scratch.ts";
import { waitFor } from "../support/wait.ts";
import type { Platform } from "./platform.ts";
import { median } from "./statistics.ts";
import type { Context, Figure } from "./workloads.ts";

/** Of the median, until the program in it runs; until its end is known is reported beside. */
const OVERHEAD_MS_MAX = 60;
const PAIRS = 25;
const WARM_PAIRS = 3;

/** From when it was asked for. */
interface Run {
  /** Until the program in the container has done something that can be seen. */
  readonly startMs: number;
  readonly endMs: number;
}

/** Figures of the runtimes that this machine has. */
export async function runContainers({ platform }: Context): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  if (noPodman === undefined) {
    await using podman = startPodman();
    figures.push(...(await measure(platform, podman)));
  }
  if (noDockerd === undefined) {
    await using dockerd = await startDockerd();
    figures.push(...(await measure(platform, dockerd)));
  }
  await runCleanups();
  return figures;
}

async function measure(platform: Platform, runtime: TestRuntime): Promise<readonly Figure[]> {
  const dir = mkdtempSync(join(tmpdir(), "noetl-bench-containers-"));
  chmodSync(dir, 0o755);
  const marks = join(dir, "marks");
  mkdirSync(marks);
  chmodSync(marks, 0o777);
  const { name } = runtime;
  await using _ = await platform.startWorker({
    ...{ name, pool: name, slots: 4 },
    env: {
      ...runtime.env,
      NOETL_CONTAINER_RUNTIME: name,
      NOETL_CONTAINER_DIR: join(dir, "tasks"),
      NOETL_CONTAINER_MOUNTS: marks,
    },
  });
  try {
    await platform.api.register(playbook(runtime, marks));
    const pairs: { readonly own: Run; readonly task: Run }[] = [];
    for (let index = 0; index < WARM_PAIRS + PAIRS; index++) {
      const own = await ownRun(runtime, dir, marks);
      const task = await taskRun(platform, runtime, marks);
      pairs.push({ own, task });
    }
    return figuresOf(name, pairs.slice(WARM_PAIRS));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function figuresOf(
  name: string,
  pairs: readonly { readonly own: Run; readonly task: Run }[],
): readonly Figure[] {
  const of = (get: (pair: (typeof pairs)[number]) => number): number => median(pairs.map(get));
  const target = { atMost: OVERHEAD_MS_MAX };
  const unit = "ms";
  const startOver = of(({ own, task }) => task.startMs - own.startMs);
  const endOver = of(({ own, task }) => task.endMs - own.endMs);
  return [
    { name: `K ${name}, start over its own run, p50`, value: startOver, unit, target },
    { name: `K … own run, to the program`, value: of(({ own }) => own.startMs), unit },
    { name: `K … task, to the program`, value: of(({ task }) => task.startMs), unit },
    { name: `K ${name}, whole task over its own run, p50`, value: endOver, unit },
    { name: `K … own run, to the end`, value: of(({ own }) => own.endMs), unit },
    { name: `K … task, to the end`, value: of(({ task }) => task.endMs), unit },
  ];
}

/** Attached: it ends with its container. Its folder is made before, its container removed after. */
async function ownRun(runtime: TestRuntime, dir: string, marks: string): Promise<Run> {
  const mark = crypto.randomUUID();
  const dialect = DIALECTS.find(({ name }) => name === runtime.name);
  if (dialect === undefined) {
    throw new Error(`There is no dialect ${runtime.name}`);
  }
  const spec = shellSpec(script(mark), {
    mounts: [{ type: "bind", source: marks, target: "/marks", isReadOnly: false }],
  });
  const folder = taskFolder(join(dir, "own"), spec.name);
  await makeTaskFolder(folder);
  await fillTaskFolder(folder, { platformId: "bench", image: spec.image }, {});
  const facts = { dialect, gpuMode: "none", own: readOwnLimits() } as const;
  const { words, env, envFile } = runCall(spec, folder, facts);
  writeFileSync(folder.envFile, envFile);
  const program = Bun.which(runtime.name) ?? runtime.name;
  const begunMs = Date.now();
  const child = Bun.spawn([program, ...words.filter((word) => word !== "--detach")], {
    env: { ...runtime.env, ...env },
    cwd: folder.dir,
    stdout: "pipe",
    stderr: "pipe",
  });
  const exitCode = await child.exited;
  const endMs = Date.now() - begunMs;
  if (exitCode !== 0) {
    throw new Error(
      `${program} run ended with ${exitCode}: ${await new Response(child.stderr).text()}`,
    );
  }
  runtime.call("rm", "--force", spec.name);
  return { startMs: markMs(marks, mark) - begunMs, endMs };
}

/** Until its end is recorded; then until its container is gone, so that its removal does not fall on what comes next. */
async function taskRun({ api }: Platform, runtime: TestRuntime, marks: string): Promise<Run> {
  const mark = crypto.randomUUID();
  const begunMs = Date.now();
  const id = await api.execute(pathOf(runtime), { payload: { script: script(mark) } });
  const { endedAtMs } = await api.completed(id, 25);
  await waitFor("the container to go", () => runtime.call("ps", "--all", "--quiet") === "");
  return { startMs: markMs(marks, mark) - begunMs, endMs: endedAtMs - begunMs };
}

function script(mark: string): string {
  return `: > /marks/${mark}`;
}

/** When the program wrote its mark, by the machine's clock. */
function markMs(marks: string, mark: string): number {
  return statSync(join(marks, mark)).mtimeMs;
}

function pathOf({ name }: TestRuntime): string {
  return `bench/container_${name}`;
}

function playbook(runtime: TestRuntime, marks: string): string {
  return JSON.stringify({
    apiVersion: "noetl.io/v2",
    kind: "Playbook",
    metadata: { name: "container", path: pathOf(runtime) },
    executor: { pool: runtime.name },
    workload: { script: "" },
    workflow: [
      {
        step: "run",
        tool: {
          kind: "container",
          image: runtime.image,
          network: "none",
          command: ["sh", "-c"],
          args: ["{{ script }}"],
          mounts: [`${marks}:/marks`],
        },
      },
    ],
  });
}
