import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ContainerRuntime } from "../../../src/containers/runtime.ts";
import { shellSpec } from "../../support/container-runtime.ts";
import { noPodman, sharedPodman } from "../../support/podman.ts";
import { waitFor } from "../../support/wait.ts";
import { describeRuntimes, failureOf, linesOf, NEVER } from "./runtimes.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

async function artifactsOf(runtime: ContainerRuntime, name: string): Promise<object> {
  const { artifacts } = await runtime.collect({ id: name, name });
  const contents: Record<string, string> = {};
  for (const artifact of artifacts) {
    contents[artifact.path] = await Bun.readableStreamToText(
      new ReadableStream({
        async start(controller) {
          for await (const bytes of artifact.open()) {
            controller.enqueue(bytes);
          }
          controller.close();
        },
      }),
    );
  }
  return contents;
}

describeRuntimes("the life of a container", (world) => {
  test("gives files and variables in, result and artifacts out, and leaves nothing behind", async () => {
    const { runtime, start, test: place } = world();
    const spec = shellSpec(
      'cat /noetl/input.json; /noetl/files/run.sh; printf "%s|%s|%s" "$SECRET" "$HOME" "$LINES2";' +
        "mkdir -p /noetl/artifacts/deep; echo data >/noetl/artifacts/deep/a.txt; echo '{\"ok\":1}' >/noetl/result.json; exit 3",
      {
        files: { "input.json": text('{"n":1}\n'), "files/run.sh": text("#!/bin/sh\necho ran\n") },
        env: { SECRET: "s3 cret", HOME: "/tmp", LINES2: "a\nb" },
        user: "1234:1234",
      },
    );
    const handle = await start(spec);
    const end = await runtime.wait(handle, { signal: NEVER });
    expect(end).toMatchObject({ exitCode: 3 });
    expect(end.endedAtMs).toBeGreaterThanOrEqual(end.startedAtMs);
    expect(await linesOf(runtime, handle)).toEqual([
      'stdout {"n":1}',
      "stdout ran",
      "stdout s3 cret|/tmp|a",
      "stdout b",
    ]);
    const { result } = await runtime.collect(handle);
    expect(new TextDecoder().decode(result)).toBe('{"ok":1}\n');
    expect(await artifactsOf(runtime, spec.name)).toEqual({ "deep/a.txt": "data\n" });
    await runtime.remove(handle);
    await runtime.remove(handle);
    expect(existsSync(join(place.dir, "tasks", runtime.name, spec.name))).toBe(false);
    expect((await runtime.list("test-platform")).map(({ name }) => name)).not.toContain(spec.name);
  });

  test("says whose each container is, ended ones included", async () => {
    const { runtime, start } = world();
    const spec = shellSpec("true");
    const running = shellSpec("exec sleep 60");
    await runtime.wait(await start(spec), { signal: NEVER });
    await start(running);
    const found = await runtime.list("test-platform");
    expect(found.find(({ name }) => name === spec.name)).toMatchObject({
      owner: spec.owner,
      isRunning: false,
      gpuIds: [],
    });
    expect(found.find(({ name }) => name === running.name)).toMatchObject({ isRunning: true });
    expect(await runtime.list("another-platform")).toEqual([]);
  });

  test("closes the container: read-only root, no capabilities, no GPUs, no new privileges", async () => {
    const { runtime, start } = world();
    const handle = await start(
      shellSpec(
        "touch /file || echo root closed; touch /tmp/file && echo tmp open; echo $NVIDIA_VISIBLE_DEVICES;" +
          "grep -E 'CapEff|NoNewPrivs' /proc/self/status; cp /bin/busybox /tmp/ && /tmp/busybox echo runs; ls /sys/class/net",
        { env: { NVIDIA_VISIBLE_DEVICES: "all" } },
      ),
    );
    await runtime.wait(handle, { signal: NEVER });
    const lines = await linesOf(runtime, handle);
    expect(lines.filter((line) => line.startsWith("stdout"))).toEqual([
      "stdout root closed",
      "stdout tmp open",
      "stdout void",
      "stdout CapEff:\t0000000000000000",
      "stdout NoNewPrivs:\t1",
      "stdout runs",
      "stdout lo",
    ]);
  });

  test("opens what the task asks for, and mounts", async () => {
    const { runtime, start, test: place } = world();
    const source = join(place.dir, "data, with comma");
    await Bun.write(join(source, "in.txt"), "in\n");
    const handle = await start(
      shellSpec(
        "touch /home/file && echo root open; cat /data/in.txt; touch /data/no || echo closed; df -m /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2;" +
          "ulimit -n; grep CapEff /proc/self/status; pwd; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null",
        {
          isRootWritable: true,
          capabilities: ["CHOWN"],
          workdir: "/home",
          mounts: [{ source, target: "/data", type: "bind", isReadOnly: true }],
          resources: {
            cpu: 0.5,
            memoryBytes: 128 * 1024 ** 2,
            shmBytes: 32 * 1024 ** 2,
            pids: 50,
            ulimits: ["nofile=512:512", "memlock=-1:-1"],
          },
        },
      ),
    );
    await runtime.wait(handle, { signal: NEVER });
    const lines = await linesOf(runtime, handle);
    expect(lines.filter((line) => line.startsWith("stdout"))).toEqual([
      "stdout root open",
      "stdout in",
      "stdout closed",
      "stdout 32",
      "stdout 512",
      "stdout CapEff:\t0000000000000001",
      "stdout /home",
      `stdout ${128 * 1024 ** 2}`,
    ]);
  });

  test("started twice is one container, and gives its end again", async () => {
    const { runtime, start, test: place } = world();
    const spec = shellSpec("echo once; exit 5");
    const first = await start(spec);
    await runtime.wait(first, { signal: NEVER });
    const another = place.connect();
    const second = await another.start(spec, NEVER);
    expect(second).toMatchObject({ id: first.id, wasThere: true });
    expect((await another.wait(second, { signal: NEVER })).exitCode).toBe(5);
    expect(await linesOf(another, second)).toEqual(["stdout once"]);
  });

  test("that was made but not started by a worker that died is started", async () => {
    const { runtime, start, test: place } = world();
    const spec = shellSpec("");
    const { commandId, platformId } = spec.owner;
    const labels = [`platform=${platformId}`, `command=${commandId}`, "attempt=1"];
    place.call(
      ...["create", "--network=none", `--name=${spec.name}`],
      ...labels.map((label) => `--label=noetl.${label}`),
      ...[place.image, "sh", "-c", "exit 6"],
    );
    const handle = await start(spec);
    expect((await runtime.wait(handle, { signal: NEVER })).exitCode).toBe(6);
  });

  test("leaves a stranger of the same name alone", async () => {
    const { start, test: place } = world();
    const spec = shellSpec("true");
    place.call("create", "--network=none", `--name=${spec.name}`, place.image, "true");
    const error = await failureOf(start(spec));
    expect(error).toMatchObject({ kind: "internal", code: "CONTAINER_NAME_TAKEN" });
    expect(place.call("container", "inspect", "--format={{.Name}}", spec.name)).toContain(
      spec.name,
    );
  });

  test("follows no links out of its folder, and says so", async () => {
    const { runtime, start } = world();
    const spec = shellSpec(
      "cd /noetl/artifacts; echo mine >a; ln -s a inside; ln -s /noetl/artifacts/a absolute; ln -s /etc/passwd outside;" +
        "ln -s ../../../../../etc/hostname relative; mkfifo pipe; ln -s nowhere dangling; ln -s / root",
    );
    const handle = await start(spec);
    await runtime.wait(handle, { signal: NEVER });
    expect(await artifactsOf(runtime, spec.name)).toEqual({
      a: "mine\n",
      absolute: "mine\n",
      inside: "mine\n",
    });
    const { skipped } = await runtime.collect(handle);
    expect(skipped).toEqual([
      "artifacts/dangling is a link that leads to no file below /noetl",
      "artifacts/outside is a link that leads to no file below /noetl",
      "artifacts/pipe is no regular file",
      "artifacts/relative is a link that leads to no file below /noetl",
      "artifacts/root is a link that leads to no file below /noetl",
    ]);
  });

  test("leaves out what nobody could name, and says so", async () => {
    const { runtime, start } = world();
    const spec = shellSpec(
      "cd /noetl/artifacts; echo 1 >'a b'; echo 2 >ü; echo 3 >$(printf 'bad\\377'); mkdir $(printf 'dir\\376')",
    );
    const handle = await start(spec);
    await runtime.wait(handle, { signal: NEVER });
    expect(await artifactsOf(runtime, spec.name)).toEqual({ "a b": "1\n", ü: "2\n" });
    const { skipped } = await runtime.collect(handle);
    expect(skipped).toEqual([
      "artifacts/bad\ufffd has a name that is no UTF-8",
      "artifacts/dir\ufffd has a name that is no UTF-8",
    ]);
  });

  test("says that the disk was full", async () => {
    const { test: place, runtime, start } = world();
    const disk = join(place.dir, "small-disk");
    mkdirSync(disk);
    Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);
    const spec = shellSpec("true");
    const handle = await start(spec);
    const folder = join(place.dir, "tasks", place.name, spec.name, "noetl");
    try {
      Bun.spawnSync(["mount", "--bind", disk, folder]);
      Bun.spawnSync(["dd", "if=/dev/zero", `of=${join(folder, "big")}`, "bs=64k"]);
      expect(await runtime.collect(handle)).toMatchObject({
        skipped: [expect.stringContaining("is full (NOETL_CONTAINER_DIR)")],
      });
    } finally {
      Bun.spawnSync(["umount", folder]);
      Bun.spawnSync(["umount", disk]);
    }
  });

  test("refuses a result that is no file", async () => {
    const { runtime, start } = world();
    const handle = await start(shellSpec("ln -s /etc/passwd /noetl/result.json"));
    await runtime.wait(handle, { signal: NEVER });
    const error = await failureOf(runtime.collect(handle));
    expect(error).toMatchObject({ kind: "schema", code: "RESULT_NOT_A_FILE" });
  });
});

describe.skipIf(noPodman !== undefined)("a container whose monitor was killed", () => {
  test("is known to have ended, and can be stopped and removed", async () => {
    const place = await sharedPodman();
    const runtime = place.connect();
    const spec = shellSpec("until [ -e /noetl/go ]; do sleep 0.05; done");
    const handle = await runtime.start(spec, NEVER);
    const state = (field: string): string =>
      place.call("inspect", `--format={{.State.${field}}}`, spec.name);
    const waiting = failureOf(runtime.wait(handle, { signal: NEVER }));
    process.kill(Number(state("ConmonPid")), "SIGKILL");
    writeFileSync(join(place.dir, "tasks/podman", spec.name, "noetl/go"), "");
    const error = await waiting;
    expect(error).toMatchObject({ kind: "worker_lost", code: "CONTAINER_END_UNKNOWN" });
    expect(state("Running")).toBe("true");
    await runtime.stop(handle, 1000);
    await runtime.remove(handle);
    expect(place.call("ps", "--all", "--filter", `name=${spec.name}`, "--quiet")).toBe("");
  }, 60_000);
});

describeRuntimes("the end of a container", (world) => {
  test("by the memory limit is told from an exit code, with the proof", async () => {
    const { runtime, start } = world();
    const handle = await start(
      shellSpec("x=a; while true; do x=$x$x; done", {
        resources: { memoryBytes: 16 * 1024 ** 2, ulimits: [] },
      }),
    );
    const end = await runtime.wait(handle, { signal: NEVER });
    expect(end).toMatchObject({ exitCode: 137, cause: { kind: "oom_host" } });
    expect(end.cause?.proof).toMatch(/OOMKilled|control group|kernel log/);
  });

  test("by its own kill is an exit code", async () => {
    const { runtime, start } = world();
    const handle = await start(shellSpec("kill -9 $$"));
    const end = await runtime.wait(handle, { signal: NEVER });
    expect(end.exitCode).toBe(137);
    expect(end.cause).toBeUndefined();
  });

  test("comes at once to a task that listens to SIGTERM", async () => {
    const { runtime, start } = world();
    const handle = await start(
      shellSpec("trap 'echo bye; exit 7' TERM; echo ready; while true; do sleep 0.05; done"),
    );
    const lines: string[] = [];
    const logs = runtime.logs(handle, { signal: NEVER }, (_, line) => lines.push(line));
    await waitFor("the trap", () => lines.includes("ready"));
    await runtime.stop(handle, 20_000);
    await logs;
    expect(lines).toEqual(["ready", "bye"]);
    expect(await runtime.wait(handle, { signal: NEVER })).toMatchObject({ exitCode: 7 });
    await runtime.stop(handle, 1000);
  });

  test("comes after the grace to one that does not, and is no want of memory", async () => {
    const { runtime, start } = world();
    const handle = await start(
      shellSpec("trap '' TERM; echo ready; while true; do sleep 0.05; done"),
    );
    const lines: string[] = [];
    const logs = runtime.logs(handle, { signal: NEVER }, (_, line) => lines.push(line));
    await waitFor("the trap", () => lines.includes("ready"));
    const found = await runtime.list("test-platform");
    expect(found.find(({ name }) => name === handle.name)?.isRunning).toBe(true);
    await runtime.stop(handle, 1000);
    await logs;
    const end = await runtime.wait(handle, { signal: NEVER });
    expect(end.exitCode).toBe(137);
    expect(end.cause).toBeUndefined();
  });

  test("is not waited for after an abort, which leaves it running", async () => {
    const { runtime, start } = world();
    const handle = await start(shellSpec("exec sleep 60"));
    const controller = new AbortController();
    const waiting = runtime.wait(handle, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    const found = await runtime.list("test-platform");
    expect(found.find(({ name }) => name === handle.name)?.isRunning).toBe(true);
  });

  test("by somebody else's removal is a lost container", async () => {
    const { runtime, start, test: place } = world();
    const handle = await start(shellSpec("exec sleep 60"));
    const waiting = failureOf(runtime.wait(handle, { signal: NEVER }));
    place.call("rm", "--force", handle.id);
    expect(await waiting).toMatchObject({ kind: "worker_lost", code: "CONTAINER_GONE" });
  });

  test("with a start that was aborted leaves nothing", async () => {
    const { runtime, test: place } = world();
    const spec = shellSpec("exec sleep 60");
    const controller = new AbortController();
    const starting = runtime.start(spec, controller.signal);
    controller.abort(new Error("enough"));
    await expect(starting).rejects.toThrow("enough");
    expect(place.call("ps", "--all", "--quiet", `--filter=name=${spec.name}`)).toBe("");
    expect(existsSync(join(place.dir, "tasks", runtime.name, spec.name))).toBe(false);
  });
});

describeRuntimes("what cannot be started", (world) => {
  test.each([
    ["a command that is not there", { command: ["nosuch"] }, "not_found", "COMMAND_NOT_FOUND"],
    ["a folder", { command: ["/home"] }, "client_error", "COMMAND_NOT_EXECUTABLE"],
  ])("%s is told from an exit code", async (_, more, kind, code) => {
    const { runtime, start } = world();
    const handle = await start(shellSpec("", more));
    const error = await failureOf(runtime.wait(handle, { signal: NEVER }));
    expect(error).toMatchObject({ kind, code, isRetryable: false });
  });

  const source = "/nosuch/folder";
  test.each([
    ["user", { user: "nobody-knows" }, "USER_UNKNOWN"],
    ["network", { network: "nosuch-network" }, "NETWORK_UNKNOWN"],
    [
      "mount",
      { mounts: [{ source, target: "/x", type: "bind", isReadOnly: true }] },
      "MOUNT_FAILED",
    ],
    ["variable", { env: { "A B": "" } }, "ENV_INVALID"],
    ["file", { files: { "../x": text("") } }, "FILE_PATH_INVALID"],
  ] as const)(
    "an unknown or impossible %s is the author's mistake, and leaves nothing",
    async (_, more, code) => {
      const { start, test: place } = world();
      const spec = shellSpec("true", more);
      const error = await failureOf(start(spec));
      expect(error).toMatchObject({ kind: "client_error", code, isRetryable: false });
      expect(place.call("ps", "--all", "--quiet", `--filter=name=${spec.name}`)).toBe("");
    },
  );

  test("an image that is not there is named", async () => {
    const { start } = world();
    const error = await failureOf(start(shellSpec("true", { image: "localhost/nosuch:1" })));
    expect(error).toMatchObject({ kind: "image_pull", code: "IMAGE_GONE", isRetryable: true });
    expect(error.message).toContain("nosuch");
  });
});
