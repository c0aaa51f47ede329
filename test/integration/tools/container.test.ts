/** The container tool with real podman and real docker. */
import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ExecutionId } from "../../../src/core/ids.ts";
import type { JsonObject } from "../../../src/core/json.ts";
import { isJsonObject } from "../../../src/core/json.ts";
import type { Tools } from "../../../src/tools/registry.ts";
import type { Artifacts, ToolOutcome } from "../../../src/tools/tool.ts";
import { LEAVE } from "../../../src/tools/tool.ts";
import type { TestRuntime } from "../../support/container-runtime.ts";
import { noDockerd, sharedDockerd } from "../../support/dockerd.ts";
import { noPodman, sharedPodman } from "../../support/podman.ts";
import { ResultShelf } from "../../support/results.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import type { Call } from "./call.ts";
import { run } from "./call.ts";
import {
  containersOf,
  containerTools,
  newCommand,
  runContainer,
  taskOf,
} from "./container-call.ts";

setDefaultTimeout(60_000);

const RUNTIMES = [
  { name: "podman", lack: noPodman, start: sharedPodman },
  { name: "docker", lack: noDockerd, start: sharedDockerd },
] as const;

/** The failure of an outcome that must be one. */
function failureOf(outcome: ToolOutcome) {
  if (outcome.ok) {
    throw new Error(`expected a failure, got ${JSON.stringify(outcome.value)}`);
  }
  return outcome.failure;
}

function mapOf(outcome: ToolOutcome): JsonObject {
  if (!outcome.ok) {
    throw new Error(JSON.stringify(outcome.failure));
  }
  return isJsonObject(outcome.value) ? outcome.value : {};
}

function factsOf(outcome: ToolOutcome): JsonObject {
  const value = isJsonObject(outcome.value) ? outcome.value : {};
  return isJsonObject(value["_container"]) ? value["_container"] : {};
}

describe.each(RUNTIMES.filter(({ lack }) => lack === undefined))("$name", ({ name, start }) => {
  let runtime: TestRuntime;
  let tools: Tools;

  beforeAll(async () => {
    runtime = await start();
    tools = await containerTools([runtime.connect()]);
  }, 120_000);

  const runTask = async (config: JsonObject, call: Partial<Call> = {}) =>
    await runContainer(tools, { ...call, config: taskOf(runtime, config) });
  const script = async (text: string, more: JsonObject = {}, call: Partial<Call> = {}) =>
    await runTask({ command: ["sh", "-c", text], ...more }, call);

  test("gives what result.json holds, with the facts of its run, and the lines as logs", async () => {
    const times: number[] = [];
    const { outcome, logs } = await script(
      `echo hello; echo careful >&2; echo '{"loss": 0.5}' > /noetl/result.json`,
      {},
      { onLog: (_stream, _line) => times.push(Date.now()) },
    );
    const { _container: facts, ...rest } = mapOf(outcome);
    expect(rest).toEqual({ loss: 0.5 });
    expect(facts).toMatchObject({
      exit_code: 0,
      image: runtime.image,
      image_digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      runtime: name,
      container: expect.stringMatching(/^noetl-a-step-\d+-1-testplat$/),
      gpus: [],
      seconds: { pull: 0, run: expect.any(Number) },
      artifacts: {},
    });
    expect(logs.filter((line) => !line.startsWith("system: "))).toEqual([
      "stdout: hello",
      "stderr: careful",
    ]);
    expect(logs[0]).toMatch(/^system: image .* is sha256:.*, which was here$/);
    expect(logs[1]).toMatch(/^system: started: noetl-a-step-/);
  });

  test("has its input as a file and as variables, its files, and the variables of its own", async () => {
    const shelf = new ResultShelf();
    const { ref } = shelf.add("7300000000000000001", "model", "weights");
    const credentials = { hf: { type: "generic", data: { token: "hf_token" } } };
    const { outcome } = await script(
      `cat > /noetl/result.json <<END
{"input": $(cat $NOETL_INPUT), "n": "$NOETL_INPUT_N", "name": "$NOETL_INPUT_FIRST_NAME",
 "big": "\${NOETL_INPUT_BIG:-absent}", "ids": "$NOETL_EXECUTION_ID $NOETL_STEP $NOETL_ATTEMPT",
 "own": "$A $TOKEN", "files": "$(cd /noetl/files; cat a/text.txt bytes.bin model; cat data.json)",
 "where": "$(pwd)"}
END`.replaceAll("cat data.json", "tr -d '\\n \"' < data.json"),
      {
        env: { A: 1, TOKEN: { credential: "hf", field: "token" } },
        files: {
          "a/text.txt": "text ",
          "bytes.bin": { base64: "Ynl0ZXMg" },
          model: { ref: ref.$ref },
          "data.json": { x: [1] },
        },
        workdir: "/tmp",
      },
      {
        input: { n: 7, "first-name": "Ada", list: [1, 2], big: "x".repeat(40_000), nothing: null },
        credentials,
        artifacts: artifactsOf(shelf),
      },
    );
    expect(mapOf(outcome)).toMatchObject({
      input: { n: 7, "first-name": "Ada", list: [1, 2], nothing: null },
      n: "7",
      name: "Ada",
      big: "absent",
      ids: "7300000000000000001 a_step 1",
      own: "1 hf_token",
      files: "text bytes weights{x:[1]}",
      where: "/tmp",
    });
  });

  test("takes the last JSON line of stdout where there is no result.json", async () => {
    const { outcome } = await script(`echo '{"a": 1}'; echo '{"a": 2}'; echo done`);
    expect(mapOf(outcome)).toMatchObject({ a: 2, _container: { exit_code: 0 } });
    const list = await script(`echo '[1, 2]' > /noetl/result.json; echo '{"a": 2}'`);
    expect(mapOf(list.outcome)).toMatchObject({ result: [1, 2] });
    const nothing = await script("echo 42");
    expect(Object.keys(mapOf(nothing.outcome))).toEqual(["_container"]);
  });

  test("a result.json that is none fails the task with the place", async () => {
    const { outcome } = await script(`printf '{"a": 1,\\n "b": nan}' > /noetl/result.json`);
    expect(failureOf(outcome)).toMatchObject({
      kind: "parse",
      code: "RESULT_INVALID",
      message: expect.stringContaining("line 2, column 7"),
    });
  });

  test("files below /noetl/artifacts become stored values, by path and type", async () => {
    const shelf = new ResultShelf();
    const { outcome } = await script(
      `cd /noetl/artifacts; mkdir sub; echo weights > sub/model.bin; echo '<p>' > report.html`,
      {},
      { artifacts: artifactsOf(shelf) },
    );
    const { artifacts } = factsOf(outcome);
    const refs = isJsonObject(artifacts) ? artifacts : {};
    expect(Object.keys(refs)).toEqual(["report.html", "sub/model.bin"]);
    const report = shelf.find(String(refs["report.html"]));
    expect(report.info).toMatchObject({ name: "report.html", contentType: "text/html", size: 4 });
    const model = shelf.find(String(refs["sub/model.bin"]));
    expect(model.info).toMatchObject({ contentType: "application/octet-stream", step: "a_step" });
    expect(new TextDecoder().decode(model.bytes)).toBe("weights\n");
  });

  test("a failure has the exit code, the end of stderr, and what was left all the same", async () => {
    const shelf = new ResultShelf();
    const { outcome } = await script(
      `echo point > /noetl/artifacts/checkpoint; echo '{"epoch": 3}'; echo wrong >&2; exit 3`,
      {},
      { artifacts: artifactsOf(shelf) },
    );
    expect(failureOf(outcome)).toMatchObject({
      kind: "exit_code",
      code: "EXIT_3",
      message: "the container exited with code 3: wrong",
      stderr: "wrong",
    });
    expect(outcome.value).toMatchObject({
      epoch: 3,
      _container: { exit_code: 3, artifacts: { checkpoint: expect.stringContaining("noetl://") } },
    });
  });

  test("what CUDA says of its memory is the kind of the failure", async () => {
    const text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 30.00 GiB.";
    const { outcome } = await script(`echo '${text}' >&2; exit 1`);
    expect(failureOf(outcome)).toMatchObject({
      kind: "oom_gpu",
      code: "OOM_GPU",
      message: `the GPU had no memory left for the task: ${text}`,
      retryable: false,
    });
  });

  test("a task that is killed for its memory is told from one that is killed", async () => {
    const eat = "x=a; while true; do x=$x$x; done";
    const { outcome } = await script(eat, { resources: { memory: "16Mi" } });
    expect(failureOf(outcome)).toMatchObject({
      kind: "oom_host",
      code: "OOM_HOST",
      message: expect.stringContaining("16Mi"),
    });
    const killed = await script("kill -9 $$");
    expect(failureOf(killed.outcome)).toMatchObject({ kind: "exit_code", code: "EXIT_137" });
  });

  test("its limits and its isolation are those of the fields", async () => {
    const facts = `cat > /noetl/result.json <<END
{"shm": "$(df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2)", "uid": "$(id -u):$(id -g)",
 "caps": "$(grep CapEff /proc/self/status | cut -f2)", "priv": "$(grep NoNewPrivs /proc/self/status | cut -f2)",
 "root": "$(touch /home/x 2>/dev/null && echo writable || echo read-only)", "tmp": "$(touch /tmp/x && echo writable)"}
END`;
    const plain = mapOf((await script(facts, { user: "1000:1000" })).outcome);
    expect(plain).toMatchObject({
      uid: "1000:1000",
      caps: "0000000000000000",
      priv: "1",
      root: "read-only",
      tmp: "writable",
    });
    const asked = await script(facts, {
      read_only: false,
      capabilities: ["CAP_CHOWN"],
      no_new_privileges: false,
      resources: { shm_size: "32m" },
    });
    expect(mapOf(asked.outcome)).toMatchObject({
      shm: "32768",
      caps: "0000000000000001",
      priv: "0",
      root: "writable",
    });
  });

  test("stops when its time is over: SIGTERM, the grace, SIGKILL, and nothing is left", async () => {
    const command = newCommand();
    const stop = new AbortController();
    const over = new DOMException("The task ran into its time limit", "TimeoutError");
    const { outcome, logs } = await script(
      "trap 'echo saving; exit 0' TERM; echo begun; while true; do sleep 0.1; done",
      {},
      {
        command,
        signal: stop.signal,
        onLog: (_stream, line) => line === "begun" && stop.abort(over),
      },
    );
    expect(failureOf(outcome)).toMatchObject({ kind: "timeout", code: "TIMEOUT" });
    expect(logs).toContain("stdout: saving");
    expect(logs).toContain("system: nothing of it runs any more");
    expect(await containersOf(runtime, command)).toEqual([]);
  });

  test("one that will not end is killed after the grace", async () => {
    const stop = new AbortController();
    const { outcome } = await script(
      "trap '' TERM; echo begun; while true; do sleep 0.1; done",
      { timeouts: { stop_grace: 1 } },
      {
        signal: stop.signal,
        onLog: (_stream, line) => line === "begun" && stop.abort("cancelled"),
      },
    );
    expect(failureOf(outcome)).toMatchObject({ kind: "cancelled" });
    expect(factsOf(outcome)).toMatchObject({ exit_code: 137 });
  });

  test("timeouts.run ends the run alone, and what it has left is kept", async () => {
    const shelf = new ResultShelf();
    const { outcome } = await script(
      "trap 'echo point > /noetl/artifacts/checkpoint; exit 0' TERM; while true; do sleep 0.1; done",
      { timeouts: { run: "2s" } },
      { artifacts: artifactsOf(shelf) },
    );
    expect(failureOf(outcome)).toMatchObject({
      kind: "timeout",
      code: "RUN_TIMEOUT",
      message: expect.stringContaining("timeouts.run, 2 s"),
    });
    expect(factsOf(outcome)).toMatchObject({
      artifacts: { checkpoint: expect.stringContaining("noetl://") },
    });
  });

  test("an image that is not there is a failure of the pull", async () => {
    const never = { image: "localhost/nobody:1", pull_policy: "never", command: ["true"] };
    const { outcome } = await runContainer(tools, { config: never });
    expect(failureOf(outcome)).toMatchObject({
      kind: "image_pull",
      retryable: expect.any(Boolean),
    });
  });

  test("a registry that does not answer is waited for as long as timeouts.pull says", async () => {
    const mute = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { open: () => undefined, data: () => undefined },
    });
    try {
      const image = `127.0.0.1:${mute.port}/nobody:1`;
      const config = { image, command: ["true"], timeouts: { pull: "1s" } };
      const { outcome } = await runContainer(tools, { config });
      expect(failureOf(outcome)).toMatchObject({
        kind: "image_pull",
        code: "IMAGE_PULL_TIMEOUT",
        message: expect.stringContaining("timeouts.pull"),
        retryable: true,
      });
    } finally {
      mute.stop(true);
    }
  });

  test("a command that the image does not have says so", async () => {
    const { outcome } = await runTask({ command: ["no-such-program"] });
    expect(failureOf(outcome)).toMatchObject({
      kind: "not_found",
      message: expect.stringContaining("is not in its image"),
    });
  });

  test("fields that mean nothing here are named in the log, needs that cannot be met refused", async () => {
    const hints = { namespace: "noetl", tolerations: [{ key: "gpu", operator: "Exists" }] };
    const { outcome, logs } = await script("true", hints);
    expect(outcome.ok).toBe(true);
    expect(logs).toContain(`system: namespace, tolerations: without effect on ${name}`);
    const volumes = {
      volumes: [{ name: "m", persistent_volume_claim: { claim_name: "models" } }],
      volume_mounts: [{ name: "m", mount_path: "/models" }],
    };
    expect(failureOf((await script("true", volumes)).outcome)).toMatchObject({
      kind: "schema",
      code: "VOLUME_NEEDS_CLUSTER",
      message: expect.stringContaining("persistent_volume_claim models"),
    });
    const wrong = await runTask({ runtime: "nerdctl", command: ["true"] });
    expect(failureOf(wrong.outcome)).toMatchObject({ kind: "not_found", code: "RUNTIME_MISSING" });
  });

  test("folders of the machine are mounted if its operator gives them, and no link leads out of them", async () => {
    const given = makeScratchDir("given");
    writeFileSync(join(given, "data"), "of the machine");
    symlinkSync("/etc", join(given, "link"));
    const worker = await containerTools([runtime.connect()], { mountDirs: [`${given}/`] });
    const mount = async (...mounts: readonly string[]) =>
      await runContainer(worker, {
        config: taskOf(runtime, {
          command: `echo '{"data": "'$(cat /data/data)'"}'; touch /data/x || true`,
          mounts,
        }),
      });
    expect(mapOf((await mount(`${given}:/data:ro`)).outcome)).toMatchObject({
      data: "of the machine",
    });
    expect(existsSync(join(given, "x"))).toBe(false);
    for (const path of ["/etc", `${given}/../..`, join(given, "link"), `${given}-more`]) {
      expect(failureOf((await mount(`${path}:/data`)).outcome)).toMatchObject({
        kind: "auth",
        code: "MOUNT_NOT_ALLOWED",
        message: expect.stringContaining("NOETL_CONTAINER_MOUNTS"),
      });
    }
  });

  test("scratch space of the public project's spelling is there, and can be written to", async () => {
    const { outcome } = await script("echo x > /scratch/x && echo '{\"ok\": true}'", {
      volumes: [{ name: "s", empty_dir: {} }],
      volume_mounts: [{ name: "s", mount_path: "/scratch" }],
    });
    expect(mapOf(outcome)).toMatchObject({ ok: true });
  });

  test("what a worker leaves, the next one finds: nothing runs twice, the log goes on", async () => {
    const command = newCommand();
    const leave = new AbortController();
    const text = `n=0; while [ $n -lt 30 ]; do echo line $n; n=$((n+1)); sleep 0.1; done
echo '{"n": '$n', "id": "'$(hostname)'"}' > /noetl/result.json`;
    const config = taskOf(runtime, { command: ["sh", "-c", text] });
    const before: string[] = [];
    let loggedUntilMs = 0;
    const first = await run(tools.get("container"), {
      config,
      command,
      signal: leave.signal,
      onLog: (stream, line, timeMs) => {
        if (stream === "stdout") {
          before.push(line);
          loggedUntilMs = timeMs ?? 0;
        }
        if (line === "line 5") {
          leave.abort(LEAVE);
        }
      },
    });
    expect(first.outcome.ok).toBe(false);
    const [container] = await containersOf(runtime, command);
    expect(container).toMatchObject({ isRunning: true });

    const next = await containerTools([runtime.connect()]);
    const adopted = { ...command, adopted: { loggedUntilMs } };
    const { outcome, logs } = await runContainer(next, { config, command: adopted });
    expect(mapOf(outcome)).toMatchObject({ n: 30 });
    expect(factsOf(outcome)).toMatchObject({ container: container?.name });
    expect(logs.some((line) => line.startsWith("system: found running"))).toBe(true);
    const after = logs.flatMap((line) => (line.startsWith("stdout: ") ? [line.slice(8)] : []));
    expect(new Set([...before, ...after]).size).toBe(30);
    expect(before.length + after.length).toBeLessThanOrEqual(32);
    expect(await containersOf(runtime, command)).toEqual([]);
  });

  test("one that is found when its time is over, or with fields that will not do, ends all the same", async () => {
    const config = taskOf(runtime, {
      command: ["sh", "-c", "echo begun; exec sleep 60"],
      timeouts: { stop_grace: 1 },
    });
    const over = AbortSignal.abort(new DOMException("Over", "TimeoutError"));
    for (const later of [{ config, signal: over }, { config: { ...config, registry: "nobody" } }]) {
      const command = newCommand();
      const leave = new AbortController();
      await run(tools.get("container"), {
        config,
        command,
        signal: leave.signal,
        onLog: (_stream, line) => line === "begun" && leave.abort(LEAVE),
      });
      const adopted = { ...command, adopted: {} };
      const next = tools.get("container");
      const { outcome } = await run(next, { ...later, command: adopted });
      expect(failureOf(outcome).kind).toBe(later.signal === undefined ? "auth" : "timeout");
      expect(await containersOf(runtime, command)).toMatchObject([{ isRunning: false }]);
      await next?.settled?.(command);
      expect(await containersOf(runtime, command)).toEqual([]);
    }
  });

  test("one that ended while nobody looked gives its result once", async () => {
    const command = newCommand();
    const leave = new AbortController();
    const config = taskOf(runtime, {
      command: ["sh", "-c", "echo begun; sleep 0.5; echo '{\"n\": 1}'"],
    });
    await run(tools.get("container"), {
      config,
      command,
      signal: leave.signal,
      onLog: (_stream, line) => line === "begun" && leave.abort("lost"),
    });
    await waitFor("the container to end", async () =>
      (await containersOf(runtime, command)).every(({ isRunning }) => !isRunning),
    );
    const adopted = { ...command, adopted: {} };
    const { outcome } = await runContainer(tools, { config, command: adopted });
    expect(mapOf(outcome)).toMatchObject({ n: 1 });
  });
});

function artifactsOf(shelf: ResultShelf): Artifacts {
  return {
    describe: (key) => Promise.resolve(shelf.find("address" in key ? key.address : key.name).info),
    read: (key, begin) => {
      const { info, bytes } = shelf.find("address" in key ? key.address : key.name);
      begin()(bytes);
      return Promise.resolve(info);
    },
    put: async (result, open) => await shelf.putResult(result, toAsync(open())),
    list: (executionId: ExecutionId) => shelf.listResults(executionId),
    remove: () => Promise.resolve(false),
  };
}

async function* toAsync(
  parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield* parts;
}
