/**
 * Container tasks as Kubernetes Jobs, through the whole platform: real PostgreSQL, NATS, server and workers, and
 * a STAND-IN for the API of a cluster (test/support/kubernetes.ts), whose pods the test plays.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Json } from "../../src/core/json.ts";
import { CERTIFICATE } from "../support/certificate.ts";
import { StandInCluster } from "../support/kubernetes.ts";
import type { StandInObject } from "../support/kubernetes-objects.ts";
import { waitFor } from "../support/wait.ts";
import type { Cluster } from "./chaos/cluster.ts";
import { startCluster } from "./chaos/cluster.ts";

const LIMIT_MS = 90_000;
const END_MS = 45_000;
const kubernetes = new StandInCluster({ tls: CERTIFICATE });
const dir = mkdtempSync(join(tmpdir(), "noetl-kubernetes-"));
/** All Jobs that were made and might run. */
const begun: StandInObject[] = [];
let cluster: Cluster;

beforeAll(async () => {
  chmodSync(dir, 0o755);
  kubernetes.onJob = (job) => {
    begun.push(job);
    kubernetes.runPod(kubernetes.makePod(job).metadata.name);
  };
  const workerEnv = {
    NOETL_KUBECONFIG: kubeconfig(),
    NOETL_CONTAINER_RUNTIME: "kubernetes",
  };
  cluster = await startCluster({ dir, serverCount: 1, workerCount: 2, slots: 1, workerEnv });
  await register("job", {
    kind: "container",
    runtime: "kubernetes",
    image: "registry.example/train:1",
    command: ["train"],
    input: { n: "{{ workload.n }}" },
  });
  await register("note", { kind: "noop", result: "noted" });
}, LIMIT_MS);

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  await kubernetes.down();
  rmSync(dir, { recursive: true, force: true });
}, LIMIT_MS);

test(
  "a task is a Job, with its input; its output and result are the task's, and nothing is left of it",
  async () => {
    const executionId = await execute("job", { n: 21 });
    const pod = await podOf(executionId);
    expect(inputOf(pod)).toMatchObject({ n: 21 });
    kubernetes.say(pod.metadata.name, "epoch 1");
    kubernetes.endPod(pod.metadata.name, { exitCode: 0, message: '{"loss":0.5}' });
    expect(await resultOf(executionId)).toMatchObject({
      loss: 0.5,
      _container: { exit_code: 0, runtime: "kubernetes" },
    });
    await waitFor("no Job", () => jobsOf(executionId).length === 0);
    expect(kubernetes.list("secrets")).toEqual([]);
    await waitFor("the output", async () => (await outputOf(executionId)).includes("epoch 1"));
  },
  LIMIT_MS,
);

test(
  "Jobs hold no slot: four run on two slots, and other tasks beside them",
  async () => {
    const executions = await Promise.all([1, 2, 3, 4].map((n) => execute("job", { n })));
    const pods = await Promise.all(executions.map(podOf));
    expect(await resultOf(await execute("note", {}))).toBe("noted");
    for (const [index, pod] of pods.entries()) {
      kubernetes.endPod(pod.metadata.name, { exitCode: 0, message: `{"index":${index}}` });
    }
    const results = await Promise.all(executions.map(resultOf));
    expect(results).toMatchObject([0, 1, 2, 3].map((index) => ({ index })));
  },
  LIMIT_MS,
);

test(
  "a Job goes on when its worker is killed: another attaches to it, and no second one is made",
  async () => {
    const executionId = await execute("job", { n: 5 });
    const pod = await podOf(executionId);
    const worker = await holder(executionId);
    kubernetes.say(pod.metadata.name, "first", "2026-11-23T06:00:00.1Z");
    kubernetes.say(pod.metadata.name, "second", "2026-11-23T06:00:00.2Z");
    await waitFor("the output", async () => (await outputOf(executionId)).includes("second"));
    await worker.kill();
    try {
      await waitFor("another worker", async () => (await holder(executionId)) !== worker, {
        deadlineMs: END_MS,
      });
      kubernetes.say(pod.metadata.name, "third");
      kubernetes.endPod(pod.metadata.name, { exitCode: 0, message: '{"n":5}' });
      expect(await resultOf(executionId)).toMatchObject({ n: 5 });
    } finally {
      await worker.start();
    }
    expect(begun.filter(isOf(executionId)).length).toBe(1);
    await waitFor("the output", async () => (await outputOf(executionId)).includes("third"));
    // The next attempt has all of the Job's output as its own.
    const lines = (await logOf(executionId)).filter(({ text }) => text === "first");
    expect(lines.map(({ attempt }) => attempt)).toEqual([...new Set(lines.map((l) => l.attempt))]);
  },
  LIMIT_MS,
);

test(
  "a Job goes on while the server and the cluster's API are away",
  async () => {
    const executionId = await execute("job", { n: 6 });
    const pod = await podOf(executionId);
    await kubernetes.down();
    await only(cluster.servers).restart();
    kubernetes.up();
    kubernetes.endPod(pod.metadata.name, { exitCode: 0, message: '{"n":6}' });
    expect(await resultOf(executionId)).toMatchObject({ n: 6 });
    expect(begun.filter(isOf(executionId)).length).toBe(1);
  },
  LIMIT_MS,
);

test(
  "cancelling an execution ends its Job before the execution is over",
  async () => {
    const executionId = await execute("job", { n: 7 });
    const pod = await podOf(executionId);
    let told = false;
    kubernetes.onTerm = () => {
      told = true;
    };
    await only(cluster.apis).call("POST", `/api/executions/${executionId}/cancel`, {});
    await waitFor("SIGTERM", () => told);
    expect(await statusOf(executionId)).toBe("RUNNING");
    kubernetes.onTerm = ({ metadata }) => kubernetes.vanish(metadata.name);
    kubernetes.vanish(pod.metadata.name);
    await waitFor("the end", async () => (await statusOf(executionId)) === "CANCELLED");
    expect(jobsOf(executionId)).toEqual([]);
  },
  LIMIT_MS,
);

test(
  "a Job that runs out of memory fails its task, with the cluster's proof",
  async () => {
    const executionId = await execute("job", { n: 8 });
    const pod = await podOf(executionId);
    kubernetes.endPod(pod.metadata.name, { exitCode: 137, reason: "OOMKilled" });
    await waitFor("the end", async () => (await statusOf(executionId)) === "FAILED");
    const [row] = await cluster.sql<{ kind: string }[]>`
      SELECT payload->'error'->>'kind' AS kind FROM noetl.event
      WHERE execution_id = ${executionId} AND type = 'call.error'`;
    expect(row?.kind).toBe("oom_host");
  },
  LIMIT_MS,
);

function kubeconfig(): string {
  const file = join(dir, "kubeconfig");
  const ca = Buffer.from(CERTIFICATE.cert).toString("base64");
  const config = {
    "current-context": "test",
    clusters: [
      { name: "c", cluster: { server: kubernetes.url, "certificate-authority-data": ca } },
    ],
    users: [{ name: "u", user: { token: kubernetes.token } }],
    contexts: [{ name: "test", context: { cluster: "c", user: "u" } }],
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

async function register(name: string, tool: Json): Promise<void> {
  const metadata = { name, path: `kubernetes/${name}` };
  const workflow = [{ step: "only", tool }];
  await only(cluster.apis).register(
    JSON.stringify({ apiVersion: "noetl.io/v2", kind: "Playbook", metadata, workflow }),
  );
}

function execute(name: string, payload: Readonly<Record<string, Json>>): Promise<string> {
  return only(cluster.apis).execute(`kubernetes/${name}`, { payload });
}

function isOf(executionId: string): (object: StandInObject) => boolean {
  return ({ metadata }) => metadata.labels?.["noetl.execution-id"] === executionId;
}

function jobsOf(executionId: string): readonly StandInObject[] {
  return kubernetes.list("jobs").filter(isOf(executionId));
}

async function podOf(executionId: string): Promise<StandInObject> {
  return await waitFor("a pod", () => kubernetes.list("pods").find(isOf(executionId)), {
    deadlineMs: END_MS,
  });
}

function inputOf(pod: StandInObject): unknown {
  const [volume] = pod["spec"].volumes.filter((one: StandInObject) => one["secret"] !== undefined);
  const mount = pod["spec"].containers[0].volumeMounts.find(
    (one: StandInObject) => one["mountPath"] === "/noetl/input.json",
  );
  const secret = kubernetes
    .list("secrets")
    .find(({ metadata }) => metadata.name === volume.secret.secretName);
  return JSON.parse(Buffer.from(secret?.["data"][mount.subPath], "base64").toString());
}

async function holder(executionId: string) {
  const [row] = await cluster.sql<{ pid: number }[]>`
    SELECT w.pid FROM noetl.command c JOIN noetl.worker w USING (worker_id)
    WHERE c.execution_id = ${executionId}`;
  const found = cluster.workers.find(({ pid }) => pid === row?.pid);
  if (found === undefined) {
    throw new Error(`No worker holds ${executionId}`);
  }
  return found;
}

async function statusOf(executionId: string): Promise<string> {
  return (await only(cluster.apis).execution(executionId)).status;
}

async function resultOf(executionId: string): Promise<unknown> {
  const status = await waitFor(
    `the end of ${executionId}`,
    async () => {
      const current = await statusOf(executionId);
      return current === "RUNNING" || current === "PENDING" ? undefined : current;
    },
    { deadlineMs: END_MS },
  );
  expect(status).toBe("COMPLETED");
  return only(await only(cluster.apis).steps(executionId)).result;
}

interface LogLine {
  readonly text: string;
  readonly attempt: number;
}

async function logOf(executionId: string): Promise<readonly LogLine[]> {
  const text = await only(cluster.apis).text(`/api/executions/${executionId}/logs`);
  return (JSON.parse(text) as { readonly logs: readonly LogLine[] }).logs;
}

async function outputOf(executionId: string): Promise<readonly string[]> {
  return (await logOf(executionId)).map(({ text }) => text);
}

function only<T>(items: readonly T[]): T {
  const [item] = items;
  if (item === undefined) {
    throw new Error("There is none");
  }
  return item;
}
