/** Playbooks with container tasks, on a platform of their own with real podman. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { parse as readYaml } from "yaml";
import { Api } from "../bench/api.ts";
import type { RunningNoetl } from "../support/binary.ts";
import { startNoetl } from "../support/binary.ts";
import type { TestRuntime } from "../support/container-runtime.ts";
import { noPodman, startPodman } from "../support/podman.ts";
import { makeScratchDir } from "../support/scratch.ts";
import { waitFor } from "../support/wait.ts";

setDefaultTimeout(120_000);

const POLL_MS = 50;

/** A broken GPU: once more elsewhere. Too little memory: go on without. */
const RULES = `
- when: "{{ output.error.kind == 'gpu_fault' }}"
  then: {do: retry, attempts: 3, delay: 0}
- when: "{{ output.error.kind == 'oom_gpu' }}"
  then: {do: continue, set: {ctx.batch: smaller}}
- else: {then: {do: fail}}
`;

describe.skipIf(noPodman !== undefined)("container tasks", () => {
  let podman: TestRuntime;
  let up: RunningNoetl;
  let api: Api;

  beforeAll(async () => {
    podman = await startPodman();
    const args = ["up", "--data-dir", join(makeScratchDir("playbooks"), "data")];
    up = await startNoetl([...args, "--port", "0", "--grpc-port", "0"], {
      env: { ...podman.env, NOETL_CONTAINER_RUNTIME: "podman" },
    });
    api = new Api(up.url);
  }, 300_000);

  afterAll(async () => {
    up?.process.kill("SIGTERM");
    await up?.process.exited;
    await podman?.[Symbol.asyncDispose]();
  });

  const container = (script: string, more: object = {}) => ({
    kind: "container",
    image: podman.image,
    network: "none",
    command: ["sh", "-c", script],
    ...more,
  });
  let count = 0;
  /** Starts a playbook of these steps. */
  const start = async (workflow: readonly object[], payload: object = {}): Promise<string> => {
    const path = `containers/p${++count}`;
    const document = {
      apiVersion: "noetl.io/v2",
      kind: "Playbook",
      metadata: { name: path.replace("/", "_"), path },
      workflow,
    };
    await api.register(JSON.stringify(document));
    return await api.execute(path, { payload });
  };
  const resultsOf = async (id: string): Promise<Readonly<Record<string, unknown>>> => {
    await api.completed(id, POLL_MS);
    return Object.fromEntries((await api.steps(id)).map(({ step, result }) => [step, result]));
  };
  const next = (step: string) => ({ next: { arcs: [{ step }] } });
  /** Also those that have ended. */
  const containersOf = (id: string): readonly string[] =>
    podman
      .call("ps", "--all", "--filter", `label=noetl.execution=${id}`, "--format", "{{.Names}}")
      .split("\n")
      .filter((line) => line !== "");

  test("take their input, and give their result to the next step", async () => {
    const id = await start(
      [
        {
          step: "train",
          tool: container(`echo '{"loss": '$NOETL_INPUT_RATE', "items": [1, 2]}'`, {
            input: { rate: "{{ workload.rate }}" },
          }),
          ...next("judge"),
        },
        {
          step: "judge",
          tool: {
            kind: "noop",
            result: {
              loss: "{{ train.loss }}",
              count: "{{ train.items | length }}",
              code: "{{ train._container.exit_code }}",
            },
          },
        },
      ],
      { rate: 0.25 },
    );
    expect((await resultsOf(id))["judge"]).toEqual({ loss: 0.25, count: 2, code: 0 });
    await waitFor("its container to be removed", () => containersOf(id).length === 0);
  });

  test("leave artifacts that an artifact task and another container read", async () => {
    const reference = "{{ train._container.artifacts['model/weights.bin'] }}";
    const id = await start([
      {
        step: "train",
        tool: container(
          "mkdir /noetl/artifacts/model; echo 42 > /noetl/artifacts/model/weights.bin",
        ),
        ...next("load"),
      },
      {
        step: "load",
        tool: { kind: "artifact", action: "get", ref: reference },
        ...next("serve"),
      },
      {
        step: "serve",
        tool: container(`echo '{"answer": '$(cat /noetl/files/weights)'}'`, {
          files: { weights: { ref: reference } },
        }),
      },
    ]);
    const { load, serve } = await resultsOf(id);
    expect(load).toMatchObject({ name: "model/weights.bin", data: "42\n" });
    expect(serve).toMatchObject({ answer: 42 });
  });

  test("fail with a kind that policy rules choose by, and each try has a command of its own", async () => {
    const id = await start([
      {
        step: "train",
        tool: {
          ...container(
            `case $NOETL_ATTEMPT in
  1) echo "CUDA error: uncorrectable ECC error encountered" >&2; exit 1;;
  2) echo "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB" >&2; exit 1;;
  *) exit 3;;
esac`,
          ),
          spec: {
            policy: {
              rules: readYaml(RULES),
            },
          },
        },
        ...next("judge"),
      },
      { step: "judge", tool: { kind: "noop", result: { batch: "{{ ctx.batch }}" } } },
    ]);
    expect((await resultsOf(id))["judge"]).toEqual({ batch: "smaller" });
    await waitFor("the containers to be removed", () => containersOf(id).length === 0);
  });

  test("are told apart by their kind in what a failed execution says", async () => {
    const id = await start([{ step: "train", tool: container("echo no data >&2; exit 4") }]);
    const { status, error } = await api.ended(id, POLL_MS);
    expect(status).toBe("FAILED");
    expect(JSON.stringify(error)).toContain("no data");
    const view = Object(await api.call("GET", `/api/executions/${id}`));
    expect(view.error_details).toMatchObject({ kind: "exit_code", code: "EXIT_4" });
  });

  test("end with the execution that is cancelled, and nothing of them is left", async () => {
    const id = await start([
      {
        step: "train",
        tool: container("trap 'exit 0' TERM; while true; do sleep 0.1; done", {
          timeouts: { stop_grace: "5s" },
        }),
      },
    ]);
    await waitFor("the container to run", () => containersOf(id).length === 1);
    const callback = async (step: string) =>
      await api.call("POST", `/api/internal/container-callback/${id}/${step}`, {
        state: "succeeded",
        job_name: "job",
      });
    expect(await callback("train")).toMatchObject({ status: "accepted" });
    expect(await callback("other")).toMatchObject({ status: "accepted_stale" });
    await api.call("POST", `/api/executions/${id}/cancel`, { reason: "enough" });
    const { status } = await api.ended(id, POLL_MS);
    expect(status).toBe("CANCELLED");
    expect(await callback("train")).toMatchObject({ status: "accepted_stale" });
    await waitFor("the container to be removed", () => containersOf(id).length === 0);
  });

  test("say what they do in the log, and keep secrets out of it", async () => {
    await api.call("POST", "/api/credentials", {
      name: "hub",
      type: "generic",
      data: { token: "very-secret-token" },
    });
    const id = await start([
      {
        step: "train",
        tool: container(
          `echo "token $TOKEN"; echo '{"token": "'$TOKEN'"}'; echo "$TOKEN" > /noetl/artifacts/t.txt`,
          { env: { TOKEN: { credential: "hub", field: "token" } } },
        ),
      },
    ]);
    const { train } = await resultsOf(id);
    expect(train).toMatchObject({ token: "***" });
    const text = await waitFor("the log", async () => {
      const logs = JSON.stringify(await api.call("GET", `/api/executions/${id}/logs`));
      return logs.includes("token ***") && logs.includes("which was here") ? logs : undefined;
    });
    expect(text).not.toContain("very-secret-token");
    expect(text).toContain("started: noetl-train-");
  });
});
