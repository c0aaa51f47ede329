/** Against a stand-in of the API (test/support/kubernetes.ts): no cluster can be had here. */
import { describe, expect, test } from "bun:test";
import type { KubernetesRuntime } from "../../../src/containers/kubernetes/runtime.ts";
import type { ContainerEnd, ContainerHandle } from "../../../src/containers/runtime.ts";
import { StandInCluster } from "../../support/kubernetes.ts";
import { ownerOf, quiet, runtimeOf, specOf } from "../../support/kubernetes-job.ts";
import type { StandInObject } from "../../support/kubernetes-objects.ts";
import { waitFor } from "../../support/wait.ts";

const NEVER = new AbortController().signal;

/** A cluster with one Job whose pod runs. */
async function running(): Promise<{
  readonly cluster: StandInCluster;
  readonly runtime: KubernetesRuntime;
  readonly handle: ContainerHandle;
  readonly pod: string;
}> {
  const cluster = new StandInCluster();
  const runtime = runtimeOf(cluster);
  let pod = "";
  cluster.onJob = (job) => {
    pod = cluster.makePod(job).metadata.name;
    cluster.runPod(pod);
  };
  const handle = await runtime.start(specOf(), NEVER);
  return { cluster, runtime, handle, pod };
}

async function waitEnd(runtime: KubernetesRuntime, handle: ContainerHandle): Promise<ContainerEnd> {
  return await runtime.wait(handle, { signal: NEVER });
}

describe("a Job that succeeds", () => {
  test("gives exit code, times, digest, output and result", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    const lines: string[] = [];
    const logs = runtime.logs(handle, { signal: NEVER }, (stream, line, timeMs) =>
      lines.push(`${stream} ${line} ${timeMs > 0}`),
    );
    const end = waitEnd(runtime, handle);
    await waitFor("a reader of the log", () => cluster.logReaderCount === 1);
    cluster.say(pod, "epoch 1");
    cluster.say(pod, "");
    cluster.say(pod, "epoch 2 äö");
    cluster.endPod(pod, { exitCode: 0, message: '{"loss": 0.5}' });
    expect(await end).toMatchObject({ exitCode: 0, imageDigest: `sha256:${"ab".repeat(32)}` });
    expect((await end).cause).toBeUndefined();
    expect((await end).startedAtMs).toBeGreaterThan(Date.now() - 60_000);
    await logs;
    expect(lines).toEqual(["stdout epoch 1 true", "stdout  true", "stdout epoch 2 äö true"]);
    const { result, artifacts } = await runtime.collect(handle);
    expect(new TextDecoder().decode(result)).toBe('{"loss": 0.5}');
    expect(artifacts).toEqual([]);
    await runtime.remove(handle);
    await runtime.remove(handle);
    expect([cluster.list("jobs"), cluster.list("pods"), cluster.list("secrets")]).toEqual([
      [],
      [],
      [],
    ]);
  });

  test("gives no result where the cluster has cut it off", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    cluster.endPod(pod, { exitCode: 0, message: "1".repeat(4096) });
    expect(await runtime.collect(handle)).toEqual({
      artifacts: [],
      skipped: [expect.stringContaining("result.json has more than the 4 KiB")],
    });
  });

  test("fails with its exit code, and no cause", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    const end = waitEnd(runtime, handle);
    cluster.endPod(pod, { exitCode: 3 });
    expect(await end).toMatchObject({ exitCode: 3 });
    expect((await end).cause).toBeUndefined();
  });

  test("is seen by any number of waiters through two watches, which end with the last of them", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    const ends = Array.from({ length: 20 }, () => waitEnd(runtime, handle));
    await waitFor("the watches", () => cluster.watchCount === 2);
    cluster.endPod(pod, { exitCode: 0 });
    expect((await Promise.all(ends)).map(({ exitCode }) => exitCode)).toEqual(Array(20).fill(0));
    const watches = cluster.seen.filter(({ query }) => query.get("watch") === "true");
    expect(watches.length).toBe(2);
    await waitFor("no watches", () => cluster.watchCount === 0);
  });
});

describe("starting", () => {
  test("twice makes one Job, with its secrets owned by it", async () => {
    const { cluster, runtime, handle } = await running();
    await using _ = cluster;
    const again = await runtime.start(specOf(), NEVER);
    expect(again).toMatchObject({ id: handle.id, wasThere: true });
    expect(cluster.list("jobs").length).toBe(1);
    const [secret] = cluster.list("secrets");
    expect(secret?.metadata.ownerReferences?.[0]?.uid).toBe(`${cluster.job().metadata.uid}`);
    expect(cluster.job()["spec"].suspend).toBe(false);
  });

  test("by a later attempt attaches to the Job and relabels it; an earlier one is refused", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    const later = specOf({ owner: ownerOf({ attempt: 2, workerId: "99" }) });
    const attached = await runtimeOf(cluster).start(later, NEVER);
    expect(attached).toMatchObject({ id: handle.id, wasThere: true });
    expect(cluster.job().metadata.labels).toMatchObject({
      "noetl.attempt": "2",
      "noetl.worker": "99",
    });
    const [found] = await runtime.list(ownerOf().platformId);
    expect(found).toMatchObject({ id: handle.id, isRunning: true, owner: later.owner });
    await expect(runtime.start(specOf(), NEVER)).rejects.toMatchObject({ code: "ATTEMPT_STALE" });
    const end = waitEnd(runtime, attached);
    cluster.endPod(pod, { exitCode: 0 });
    expect((await end).exitCode).toBe(0);
    expect(cluster.list("pods").length).toBe(1);
  });

  test("leaves a worker that was slow no way to end what another has taken over", async () => {
    const { cluster, runtime, handle } = await running();
    await using _ = cluster;
    const other = runtimeOf(cluster);
    const [found] = await other.list(ownerOf().platformId);
    const taken = await other.start(specOf({ owner: ownerOf({ workerId: "99" }) }), NEVER);
    await runtime.remove(handle);
    await runtime.stop(handle, 0);
    await other.remove(found ?? handle);
    expect(cluster.list("pods").length).toBe(1);
    await other.remove(taken);
    expect(cluster.list("jobs")).toEqual([]);
    const anew = await other.start(specOf({ owner: ownerOf({ workerId: "99" }) }), NEVER);
    await other.remove(taken);
    expect(cluster.list("jobs").length).toBe(1);
    await other.remove(anew);
    expect(cluster.list("jobs")).toEqual([]);
  });

  test("finds the outcome of a Job that ended while nobody looked", async () => {
    const { cluster, pod } = await running();
    await using _ = cluster;
    cluster.say(pod, "all of it");
    cluster.endPod(pod, { exitCode: 0, message: "{}" });
    const other = runtimeOf(cluster);
    const handle = await other.start(specOf({ owner: ownerOf({ attempt: 2 }) }), NEVER);
    const lines: string[] = [];
    await other.logs(handle, { signal: NEVER }, (_stream, line) => lines.push(line));
    expect((await waitEnd(other, handle)).exitCode).toBe(0);
    expect(lines).toEqual(["all of it"]);
  });

  test("goes on where a worker died between making the Job and letting it run", async () => {
    await using cluster = new StandInCluster();
    let started = 0;
    cluster.onJob = () => started++;
    cluster.forbid("create secrets");
    cluster.forbid("delete jobs");
    const refused = runtimeOf(cluster).start(specOf(), NEVER);
    await expect(refused).rejects.toMatchObject({ code: "KUBERNETES_FORBIDDEN" });
    expect([cluster.job()["spec"].suspend, started]).toEqual([true, 0]);
    cluster.allow("create secrets");
    await runtimeOf(cluster).start(specOf({ owner: ownerOf({ attempt: 2 }) }), NEVER);
    expect([cluster.job()["spec"].suspend, started]).toEqual([false, 1]);
  });

  test("waits until the Job of an earlier attempt has been deleted", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    cluster.onTerm = () => undefined;
    const stopped = runtime.stop(handle, 30_000);
    await waitFor("a deletion", () => cluster.job().metadata.deletionTimestamp !== undefined);
    const first = cluster.job().metadata.uid;
    const again = runtime.start(specOf({ owner: ownerOf({ attempt: 2 }) }), NEVER);
    const looksBefore = cluster.seen.length;
    await waitFor("another look", () => cluster.seen.length > looksBefore + 4);
    cluster.vanish(pod);
    await stopped;
    expect((await again).wasThere).toBe(false);
    expect(cluster.job().metadata.uid).not.toBe(first);
  });

  test("says which rule is missing", async () => {
    await using cluster = new StandInCluster();
    cluster.forbid("create jobs");
    const started = runtimeOf(cluster).start(specOf(), NEVER);
    await expect(started).rejects.toMatchObject({
      kind: "auth",
      code: "KUBERNETES_FORBIDDEN",
      message: expect.stringContaining(
        'may not create jobs in the namespace noetl: add the rule {apiGroups: ["batch"], resources: ["jobs"], verbs: ["create"]}',
      ),
    });
    const facts = await runtimeOf(cluster).probe();
    expect(facts).toMatchObject({ isUsable: false, version: "v1.31.2", gpus: "cluster" });
    expect(facts.problem).toContain("may not create jobs in the namespace noetl");
    cluster.allow("create jobs");
    expect(await runtimeOf(cluster).probe()).toMatchObject({ isUsable: true });
  });

  test("is repeated while the API fails or is away", async () => {
    await using cluster = new StandInCluster();
    cluster.faults.push(503, 429, 500);
    await cluster.down();
    const started = runtimeOf(cluster).start(specOf(), NEVER);
    cluster.up();
    expect((await started).name).toMatch(/^noetl-train-model-383058044193341442-[0-9a-f]{8}$/);
    expect(cluster.list("jobs").length).toBe(1);
  });

  test("ends with the signal", async () => {
    await using cluster = new StandInCluster();
    await cluster.down();
    const stop = new AbortController();
    const started = runtimeOf(cluster).start(specOf(), stop.signal);
    stop.abort(new Error("enough"));
    await expect(started).rejects.toThrow("enough");
  });
});

interface Ending {
  readonly what: string;
  readonly play: (cluster: StandInCluster, pod: string, job: StandInObject) => void;
  readonly cause: { readonly kind: string; readonly proof: unknown };
  readonly exitCode: number;
}

const ENDINGS: readonly Ending[] = [
  {
    what: "out of memory",
    play: (cluster, pod) => cluster.endPod(pod, { exitCode: 137, reason: "OOMKilled" }),
    cause: { kind: "oom_host", proof: expect.stringContaining("OOMKilled") },
    exitCode: 137,
  },
  {
    what: "an eviction because the node ran out",
    play: (cluster, pod) =>
      cluster.endPod(
        pod,
        { exitCode: 137 },
        {
          reason: "Evicted",
          message: "The node was low on resource: memory. Threshold quantity: 100Mi",
        },
      ),
    cause: { kind: "worker_lost", proof: expect.stringContaining("low on resource: memory") },
    exitCode: 137,
  },
  {
    what: "an eviction for what it wrote itself",
    play: (cluster, pod) =>
      cluster.endPod(
        pod,
        { exitCode: 137 },
        {
          reason: "Evicted",
          message: "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.",
        },
      ),
    cause: { kind: "limit", proof: expect.stringContaining("ephemeral local storage") },
    exitCode: 137,
  },
  {
    what: "its deadline",
    play: (cluster, pod, job) => {
      cluster.changePod(pod, ({ metadata }) => {
        metadata.deletionTimestamp = new Date(Date.now() + 10_000).toISOString();
      });
      cluster.endJob(job.metadata.name, {
        type: "Failed",
        status: "True",
        reason: "DeadlineExceeded",
        message: "Job was active longer than specified deadline",
      });
      cluster.vanish(pod);
    },
    cause: { kind: "timeout", proof: expect.stringContaining("DeadlineExceeded") },
    exitCode: 137,
  },
  {
    what: "a pod that was deleted",
    play: (cluster, pod, job) => {
      cluster.vanish(pod);
      cluster.endJob(job.metadata.name, {
        type: "Failed",
        status: "True",
        reason: "BackoffLimitExceeded",
        message: "Job has reached the specified backoff limit",
      });
    },
    cause: { kind: "worker_lost", proof: expect.stringContaining("was deleted") },
    exitCode: 137,
  },
  {
    what: "a preemption",
    play: (cluster, pod) =>
      cluster.endPod(
        pod,
        { exitCode: 143 },
        {
          conditions: [
            {
              type: "DisruptionTarget",
              status: "True",
              reason: "PreemptionByScheduler",
              message: "default-scheduler: preempting to accommodate a higher priority pod",
            },
          ],
        },
      ),
    cause: { kind: "worker_lost", proof: expect.stringContaining("PreemptionByScheduler") },
    exitCode: 143,
  },
  {
    what: "a node that was lost for good",
    play: (cluster, pod) =>
      cluster.changePod(pod, ({ metadata }) => {
        metadata.deletionTimestamp = new Date(Date.now() - 120_000).toISOString();
      }),
    cause: { kind: "worker_lost", proof: expect.stringContaining("node-1 does not say") },
    exitCode: 137,
  },
  {
    what: "a Job that somebody deleted",
    play: (cluster, pod, job) => {
      cluster.remove("jobs", job.metadata.name);
      cluster.vanish(pod);
    },
    cause: { kind: "worker_lost", proof: "its Job was deleted" },
    exitCode: 137,
  },
  {
    what: "an image that is not there",
    play: (cluster, pod) =>
      cluster.waitingPod(
        pod,
        "ErrImagePull",
        'failed to resolve reference "registry.example/team/train:1": not found',
      ),
    cause: { kind: "image_pull", proof: expect.stringContaining("not found") },
    exitCode: 125,
  },
];

describe("the end of a Job by", () => {
  test.each(ENDINGS.map((ending) => [ending.what, ending] as const))(
    "%s",
    async (_what, ending) => {
      const { cluster, runtime, handle, pod } = await running();
      await using _ = cluster;
      const end = waitEnd(runtime, handle);
      await waitFor("the watches", () => cluster.watchCount === 2);
      ending.play(cluster, pod, cluster.job());
      expect(await end).toMatchObject({ cause: ending.cause, exitCode: ending.exitCode });
    },
  );

  test("an image that does not come before its time is over; its pod is gone then", async () => {
    const { cluster, runtime, pod } = await running();
    await using _ = cluster;
    const spec = specOf({ owner: ownerOf({ commandId: "7" }), cluster: { pullTimeoutMs: 50 } });
    const handle = await runtime.start(spec, NEVER);
    const message = "dial tcp 10.0.0.1:443: i/o timeout";
    const name = cluster
      .list("pods")
      .map(({ metadata }) => metadata.name)
      .find((one) => one !== pod);
    cluster.waitingPod(`${name}`, "ImagePullBackOff", message);
    const phases: string[] = [];
    const end = await runtime.wait(handle, { signal: NEVER, onPhase: (line) => phases.push(line) });
    expect(end.cause).toEqual({ kind: "image_pull", proof: `ImagePullBackOff: ${message}` });
    expect(phases).toContain(`pulling: ImagePullBackOff: ${message}`);
    expect(cluster.list("jobs").length).toBe(1);
  });

  test("a configuration that cannot be: an error that says so, and no Job is left", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    cluster.waitingPod(pod, "CreateContainerConfigError", 'secret "db" not found');
    await expect(waitEnd(runtime, handle)).rejects.toMatchObject({
      kind: "schema",
      code: "CONTAINER_CONFIG",
      message: expect.stringContaining('secret "db" not found'),
    });
    await waitFor("no Job", () => cluster.list("jobs").length === 0);
  });

  test("a command that the image does not have", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    cluster.endPod(pod, {
      exitCode: 128,
      reason: "StartError",
      message: 'exec: "trian": not found',
    });
    const end = waitEnd(runtime, handle);
    await expect(end).rejects.toMatchObject({ code: "CONTAINER_START" });
  });
});

describe("waiting", () => {
  test("says what it waits for", async () => {
    await using cluster = new StandInCluster();
    const runtime = runtimeOf(cluster);
    let pod = "";
    cluster.onJob = (job) => {
      pod = cluster.makePod(job).metadata.name;
    };
    const handle = await runtime.start(specOf(), NEVER);
    const phases: string[] = [];
    const end = runtime.wait(handle, { signal: NEVER, onPhase: (line) => phases.push(line) });
    await waitFor("the first phase", () => phases.length === 1);
    cluster.changePod(pod, (object) => {
      const message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.";
      const condition = { type: "PodScheduled", status: "False", reason: "Unschedulable", message };
      object["status"] = { phase: "Pending", conditions: [condition] };
    });
    await waitFor("the second phase", () => phases.length === 2);
    cluster.waitingPod(pod, "ContainerCreating", "");
    await waitFor("the third phase", () => phases.length === 3);
    cluster.runPod(pod);
    await waitFor("the fourth phase", () => phases.length === 4);
    cluster.endPod(pod, { exitCode: 0 });
    await end;
    expect(phases).toEqual([
      "starting: waiting",
      "waiting for a node: Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
      "starting on node-1: ContainerCreating",
      "running on node-1",
    ]);
  });

  test("says why no pod can be made, and gives up when that will not change", async () => {
    await using cluster = new StandInCluster();
    const runtime = runtimeOf(cluster);
    const handle = await runtime.start(specOf(), NEVER);
    const text =
      'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true';
    cluster.event(handle.name, "FailedCreate", `Error creating: ${text}`);
    await expect(waitEnd(runtime, handle)).rejects.toMatchObject({
      code: "KUBERNETES_POLICY",
      message: expect.stringContaining("runAsNonRoot != true"),
    });
    await waitFor("no Job", () => cluster.list("jobs").length === 0);
  }, 20_000);

  test.each([
    ["its watches are cut", (cluster: StandInCluster) => cluster.cutWatches()],
    ["its watches are forgotten (410)", (cluster: StandInCluster) => cluster.forget()],
  ])("goes on when %s", async (_what, breakIt) => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    const end = waitEnd(runtime, handle);
    await waitFor("the watches", () => cluster.watchCount === 2);
    breakIt(cluster);
    cluster.endPod(pod, { exitCode: 5 });
    expect((await end).exitCode).toBe(5);
  });

  test("hears of a Job that ended and was deleted while its watches were forgotten", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    const end = waitEnd(runtime, handle);
    await waitFor("the watches", () => cluster.watchCount === 2);
    await cluster.down();
    cluster.remove("jobs", handle.name);
    cluster.vanish(pod);
    cluster.forget();
    cluster.up();
    expect((await end).cause?.kind).toBe("worker_lost");
  });

  test("outlasts an API that is away, and says so", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    const phases: string[] = [];
    const end = runtime.wait(handle, { signal: NEVER, onPhase: (line) => phases.push(line) });
    await waitFor("the watches", () => cluster.watchCount === 2);
    await cluster.down();
    await waitFor("word of it", () => phases.some((line) => line.includes("does not answer")));
    cluster.up();
    cluster.endPod(pod, { exitCode: 0 });
    expect((await end).exitCode).toBe(0);
  });

  test("is refused where watching is forbidden", async () => {
    const { cluster, runtime, handle } = await running();
    await using _ = cluster;
    cluster.forbid("list pods");
    const end = waitEnd(runtime, handle);
    await expect(end).rejects.toMatchObject({
      code: "KUBERNETES_FORBIDDEN",
      message: expect.stringContaining("list pods"),
    });
  });

  test("ends with the signal and leaves the Job running", async () => {
    const { cluster, runtime, handle } = await running();
    await using _ = cluster;
    const stop = new AbortController();
    const end = runtime.wait(handle, { signal: stop.signal });
    await waitFor("the watches", () => cluster.watchCount === 2);
    stop.abort(new Error("the worker ends"));
    await expect(end).rejects.toThrow("the worker ends");
    expect(cluster.list("pods").length).toBe(1);
    expect(cluster.job().metadata.deletionTimestamp).toBeUndefined();
  });
});

describe("the log", () => {
  test("goes on after a broken connection, each line once", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    const lines: string[] = [];
    const logs = runtime.logs(handle, { signal: NEVER }, (_stream, line) => lines.push(line));
    const time = "2026-11-23T06:00:00.5Z";
    await waitFor("a reader", () => cluster.logReaderCount === 1);
    cluster.say(pod, "one", time);
    cluster.say(pod, "two", time);
    await waitFor("two lines", () => lines.length === 2);
    cluster.cutLogs();
    cluster.say(pod, "three", time);
    cluster.say(pod, "four", "2026-11-23T06:00:00.51Z");
    await waitFor("four lines", () => lines.length === 4);
    await cluster.down();
    cluster.up();
    cluster.say(pod, "five", "2026-11-23T06:00:01Z");
    cluster.endPod(pod, { exitCode: 0 });
    await logs;
    expect(lines).toEqual(["one", "two", "three", "four", "five"]);
  });

  test("begins where another worker stopped", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    cluster.say(pod, "one", "2026-11-23T06:00:00.100000001Z");
    cluster.say(pod, "two", "2026-11-23T06:00:00.2Z");
    cluster.say(pod, "three", "2026-11-23T06:00:00.200000003Z");
    cluster.say(pod, "four", "2026-11-23T06:00:00.3Z");
    cluster.endPod(pod, { exitCode: 0 });
    const read = async (more: { readonly seenCount?: number }): Promise<readonly string[]> => {
      const lines: string[] = [];
      const sinceMs = Date.parse("2026-11-23T06:00:00.200Z");
      const options = { sinceMs, signal: NEVER, ...more };
      await runtime.logs(handle, options, (_stream, line) => lines.push(line));
      return lines;
    };
    expect(await read({ seenCount: 1 })).toEqual(["three", "four"]);
    expect(await read({ seenCount: 2 })).toEqual(["four"]);
    expect(await read({})).toEqual(["four"]);
  });

  test("ends with the signal", async () => {
    const { cluster, runtime, handle } = await running();
    await using _ = cluster;
    const stop = new AbortController();
    const logs = runtime.logs(handle, { signal: stop.signal }, () => undefined);
    await waitFor("a reader", () => cluster.logReaderCount === 1);
    stop.abort();
    await logs;
    await waitFor("no reader", () => cluster.logReaderCount === 0);
    expect(cluster.list("pods").length).toBe(1);
  });
});

describe("stopping", () => {
  test("resolves when the pod is gone, not before", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    let told = false;
    cluster.onTerm = () => {
      told = true;
    };
    let isStopped = false;
    const stopped = runtime.stop(handle, 5000).then(() => {
      isStopped = true;
    });
    await waitFor("SIGTERM", () => told);
    expect(isStopped).toBe(false);
    cluster.vanish(pod);
    await stopped;
    expect(cluster.list("jobs")).toEqual([]);
    await runtime.stop(handle, 5000);
  });

  test("goes on when the API was away", async () => {
    const { cluster, runtime, handle } = await running();
    await using _ = cluster;
    await cluster.down();
    const stopped = runtime.stop(handle, 1000);
    cluster.up();
    await stopped;
    expect(cluster.list("pods")).toEqual([]);
  });
});

describe("listing", () => {
  test("gives the Jobs of one platform, and whose they are", async () => {
    const { cluster, runtime, handle, pod } = await running();
    await using _ = cluster;
    const other = ownerOf({ platformId: "another", commandId: "8" });
    await runtime.start(specOf({ owner: other }), NEVER);
    cluster.endPod(pod, { exitCode: 0 });
    expect(await runtime.list(ownerOf().platformId)).toMatchObject([
      { id: handle.id, name: handle.name, owner: ownerOf(), isRunning: false, gpuIds: [] },
    ]);
    expect((await runtime.list("another")).map(({ owner }) => owner)).toEqual([other]);
  });

  test("logs nothing secret", async () => {
    await using cluster = new StandInCluster();
    const lines: string[] = [];
    const runtime = runtimeOf(
      cluster,
      quiet((line) => lines.push(line)),
    );
    cluster.faults.push(500, 500, 500, 500);
    await runtime.start(specOf(), NEVER);
    expect(lines.join("")).not.toContain("s3cret");
    expect(lines.join("")).not.toContain(cluster.token);
    const jobs = cluster.seen.filter(({ path }) => path.endsWith("/jobs"));
    expect(JSON.stringify(jobs.map(({ body }) => body))).not.toContain("s3cret");
  });
});
