/**
 * Four GPUs that two workers of one machine see, and sixteen tasks: real processes, a real server, real podman with
 * CDI, and one of the workers is killed in the middle. The GPUs are **recorded** (nvidia-smi) and `/dev/null` (CDI).
 */
import { expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Api } from "../bench/api.ts";
import { workerComponent } from "../bench/platform.ts";
import { writeCdiSpec } from "../support/cdi.ts";
import { makeNvidiaSmi, newH100s } from "../support/nvidia-smi.ts";
import { noPodman, startPodman } from "../support/podman.ts";
import { makeScratchDir } from "../support/scratch.ts";
import { waitFor } from "../support/wait.ts";
import { startCluster } from "./chaos/cluster.ts";

const PATH = "tests/leases";
const TASKS = 16;
const GPUS = 4;
/** That many are left when a worker is killed. */
const KILL_AT = 10;

/**
 * Beyond what the platform says: each GPU has a file in which its tasks write when they begin and end. The device
 * nodes of a container are those of its GPUs.
 */
const SCRIPT = [
  "cd /marks",
  "gpu=gpus/$(basename /dev/nvidia*)",
  "echo begin $N >> $gpu",
  "until [ -e go-$N ]; do sleep 0.05; done",
  "echo end $N >> $gpu",
].join("; ");

function playbook(image: string, marks: string): string {
  return JSON.stringify({
    apiVersion: "noetl.io/v2",
    kind: "Playbook",
    metadata: { name: "leases", path: PATH },
    workflow: [
      {
        step: "train",
        loop: {
          in: `{{ range(${TASKS}) | list }}`,
          iterator: "n",
          spec: { mode: "parallel", max_in_flight: TASKS },
        },
        tool: {
          kind: "container",
          image,
          network: "none",
          command: ["sh", "-c", SCRIPT],
          env: { N: "{{ iter.n }}" },
          gpu: 1,
          mounts: [`${marks}:/marks`],
        },
      },
    ],
  });
}

interface Machine extends AsyncDisposable {
  readonly api: Api;
  readonly marks: string;
  readonly gpuIds: readonly string[];
  readonly image: string;
  /** The first of them, which may be killed. */
  readonly worker: ReturnType<typeof workerComponent>;
  containers(): readonly string[];
  spans(executionId: string): Promise<readonly Span[]>;
  /** How often each command has ended. */
  ends(executionId: string): Promise<readonly number[]>;
}

interface Span {
  readonly gpu: string;
  readonly sinceMs: number;
  readonly untilMs: number;
}

async function startMachine(): Promise<Machine> {
  await using stack = new AsyncDisposableStack();
  const dir = makeScratchDir("gpu-leases");
  const marks = join(dir, "marks");
  for (const path of [marks, join(marks, "gpus")]) {
    mkdirSync(path);
    chmodSync(path, 0o777);
  }
  const podman = stack.use(startPodman());
  const smi = makeNvidiaSmi(newH100s());
  stack.use(writeCdiSpec(smi.ids));
  const cluster = stack.use(await startCluster({ dir, serverCount: 1, workerCount: 0, slots: 1 }));
  const { sql } = cluster;
  const workers = ["a", "b"].map((name) =>
    stack.use(
      workerComponent({
        ...{ dir, name, sql, slots: TASKS, pool: "gpu-01", natsUrl: cluster.nats.url },
        filesDir: join(dir, "files"),
        grpcPorts: cluster.grpcAddresses.map((address) => Number(address.split(":")[1])),
        env: {
          ...podman.env,
          NOETL_CONTAINER_RUNTIME: "podman",
          NOETL_CONTAINER_DIR: join(dir, "tasks"),
          NOETL_CONTAINER_MOUNTS: marks,
          NOETL_NVIDIA_SMI: smi.path,
          NOETL_KERNEL_LOG: "",
          NOETL_GPU_INTERVAL: "500ms",
          NOETL_GRACE_TIME: "5s",
        },
      }),
    ),
  );
  await Promise.all(workers.map((one) => one.start()));
  const [worker] = workers;
  const [api] = cluster.apis;
  if (worker === undefined || api === undefined) {
    throw new Error("There are a server and workers");
  }
  const owned = stack.move();
  return {
    ...{ api, marks, worker, image: podman.image, gpuIds: smi.ids },
    containers: () =>
      podman.call("ps", "--all", "--format", "{{.Names}}").split("\n").filter(Boolean),
    spans: async (executionId) => {
      const rows = await sql<{ gpus: string[]; sinceMs: number; untilMs: number }[]>`
        SELECT payload->'lease'->'gpus' AS gpus, (payload->'lease'->>'sinceMs')::float8 AS "sinceMs",
               extract(epoch FROM occurred_at)::float8 * 1000 AS "untilMs"
        FROM noetl.event WHERE execution_id = ${executionId} AND payload->'lease' IS NOT NULL`;
      return rows.flatMap(({ gpus, ...span }) => gpus.map((gpu) => ({ gpu, ...span })));
    },
    ends: async (executionId) => {
      const rows = await sql<{ count: number }[]>`
        SELECT count(*)::int AS count FROM noetl.event
        WHERE execution_id = ${executionId} AND type IN ('call.done', 'call.error')
        GROUP BY payload->>'commandId'`;
      return rows.map(({ count }) => count);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What the tasks of each GPU have written. */
function diaries(marks: string): readonly (readonly string[])[] {
  const dir = join(marks, "gpus");
  return readdirSync(dir).map((name) => readFileSync(join(dir, name), "utf8").trim().split("\n"));
}

/** Numbers of the tasks whose programs run. */
function running(marks: string): readonly string[] {
  const lines = diaries(marks).flat();
  return lines.flatMap((line) => {
    const [word, number = ""] = line.split(" ");
    return word === "begin" && !lines.includes(`end ${number}`) ? [number] : [];
  });
}

/** Pairs of leases of one GPU of which one began before the other had ended. */
function overlaps(spans: readonly Span[]): readonly (readonly [Span, Span])[] {
  const sorted = spans.toSorted((a, b) => a.gpu.localeCompare(b.gpu) || a.sinceMs - b.sinceMs);
  return sorted.flatMap((span, index) => {
    const next = sorted[index + 1];
    return next?.gpu === span.gpu && next.sinceMs < span.untilMs ? [[span, next] as const] : [];
  });
}

test.skipIf(noPodman !== undefined)(
  "16 tasks over 4 GPUs of 2 workers: never two on one, all busy while work waits, also when a worker is killed",
  async () => {
    await using machine = await startMachine();
    const { api, marks, worker, gpuIds } = machine;
    await api.register(playbook(machine.image, marks));
    const id = await api.execute(PATH);
    for (let left = TASKS; left > 0; left--) {
      const busy = Math.min(GPUS, left);
      const [number] = await waitFor(
        "all GPUs to be busy",
        () => running(marks).length === busy && running(marks),
        { deadlineMs: 90_000 },
      );
      if (left === KILL_AT) {
        await worker.kill();
        await worker.start();
      }
      writeFileSync(join(marks, `go-${number}`), "");
      await waitFor("its end", () => diaries(marks).flat().includes(`end ${number}`));
    }
    await api.completed(id, 50);
    const spans = await machine.spans(id);
    expect(overlaps(spans)).toEqual([]);
    expect(new Set(spans.map(({ gpu }) => gpu))).toEqual(new Set(gpuIds));
    expect(await machine.ends(id)).toEqual(Array.from({ length: TASKS }, () => 1));
    for (const diary of diaries(marks)) {
      const numbers = diary.filter((_, index) => index % 2 === 0).map((line) => line.split(" ")[1]);
      // The next one begins when the one before has ended, also those that went on without their worker.
      expect(diary).toEqual(numbers.flatMap((number) => [`begin ${number}`, `end ${number}`]));
    }
    expect(diaries(marks).flat()).toHaveLength(2 * TASKS);
    await waitFor("the containers to go", () => machine.containers().length === 0);
  },
  300_000,
);
