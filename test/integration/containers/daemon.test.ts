import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CliRuntime } from "../../../src/containers/cli-runtime.ts";
import { detectRuntimes } from "../../../src/containers/detect.ts";
import { DIALECTS } from "../../../src/containers/dialect.ts";
import type { ContainerRuntime } from "../../../src/containers/runtime.ts";
import { ContainerError } from "../../../src/containers/runtime.ts";
import { shellSpec } from "../../support/container-runtime.ts";
import type { Dockerd } from "../../support/dockerd.ts";
import { noDockerd, startDockerd } from "../../support/dockerd.ts";
import { SILENT_LOGGER } from "../../support/log.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import { NEVER } from "./runtimes.ts";

describe.skipIf(noDockerd !== undefined)(`dockerd that dies ${noDockerd ?? ""}`, () => {
  let dockerd: Dockerd;
  let runtime: ContainerRuntime;
  beforeAll(async () => {
    dockerd = await startDockerd();
    runtime = dockerd.connect();
  });
  afterAll(async () => await dockerd[Symbol.asyncDispose]());

  test("and comes back: what it ended is told from the task's own end, and no line is doubled", async () => {
    const spec = shellSpec("i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done");
    const handle = await runtime.start(spec, NEVER);
    const lines: number[] = [];
    const logs = runtime.logs(handle, { signal: NEVER }, (_, line) => lines.push(Number(line)));
    const waiting = runtime.wait(handle, { signal: NEVER });
    await waitFor("some lines", () => lines.length > 5);
    await dockerd.stop("SIGKILL");
    await dockerd.start();
    const end = await waiting;
    await logs;
    expect(end.exitCode).not.toBe(0);
    expect(end.cause).toMatchObject({ kind: "worker_lost" });
    expect(lines).toEqual(lines.map((_, index) => index + 1));
    await runtime.remove(handle);
    expect(existsSync(join(dockerd.dir, "tasks/docker", spec.name))).toBe(false);
  }, 60_000);

  test("during a start: it is waited for, and the container is started once", async () => {
    await dockerd.stop("SIGTERM");
    const spec = shellSpec("exec sleep 60");
    const starting = runtime.start(spec, NEVER);
    await dockerd.start();
    const handle = await starting;
    const names = (await runtime.list("test-platform")).map(({ name }) => name);
    expect(names).toContain(spec.name);
    await runtime.stop(handle, 0);
    await runtime.remove(handle);
    expect(dockerd.call("ps", "--all", "--quiet", `--filter=name=${spec.name}`)).toBe("");
  }, 60_000);
});

describe.skipIf(noDockerd !== undefined)(
  "dockerd that dies when a container has just begun",
  () => {
    // A race, and either outcome is fine: it knows of the container, or has lost it.
    test("leaves none of its processes, whatever it knows of it", async () => {
      await using dockerd = await startDockerd();
      const runtime = dockerd.connect();
      const ends: string[] = [];
      while (ends.length < 8 && !ends.includes("CONTAINER_LOST")) {
        const mark = `${process.pid}-${ends.length}`;
        const spec = shellSpec(`: > /noetl/begun; exec sleep 100.${mark.replace("-", "")}`);
        const starting = runtime.start(spec, NEVER).catch((error: unknown) => error);
        const begun = join(dockerd.dir, "tasks/docker", spec.name, "noetl/begun");
        while (!existsSync(begun)) {
          await Bun.sleep(0);
        }
        await dockerd.stop("SIGKILL");
        await dockerd.start();
        const started = await starting;
        ends.push(started instanceof ContainerError ? String(started.code) : "known");
        const handle = { id: spec.name, name: spec.name };
        await runtime.stop(handle, 0);
        await runtime.remove(handle);
        expect(runningWith(`sleep 100.${mark.replace("-", "")}`)).toEqual([]);
      }
      expect(ends.every((end) => end === "known" || end === "CONTAINER_LOST")).toBe(true);
    }, 120_000);
  },
);

/** Command lines on this machine that end so. */
function runningWith(text: string): readonly string[] {
  const all = Bun.spawnSync(["ps", "-eo", "args"]).stdout.toString().split("\n");
  return all.filter((line) => line.endsWith(text));
}

describe("detection", () => {
  const detect = async (
    env: Readonly<Record<string, string>>,
    names: readonly ("docker" | "podman" | "nerdctl")[],
  ): ReturnType<typeof detectRuntimes> =>
    await detectRuntimes({
      env,
      dir: makeScratchDir("tasks"),
      names,
      cluster: { accountDir: "/nosuch" },
      log: SILENT_LOGGER,
    });

  test("names what was asked for and is missing, and what to do", async () => {
    const [found] = await detect({ PATH: "/nosuch" }, ["nerdctl"]);
    expect(found?.facts).toMatchObject({ name: "nerdctl", isUsable: false, gpus: "none" });
    expect(found?.facts.problem).toStartWith("There is no nerdctl on the PATH: install nerdctl");
  });

  test("finds nothing on a machine without", async () => {
    expect(await detect({ PATH: "/nosuch", HOME: "/nosuch" }, [])).toEqual([]);
  });

  test.skipIf(Bun.which("docker") === null)("says that docker's daemon is not there", async () => {
    const env = { PATH: process.env["PATH"] ?? "", DOCKER_HOST: "unix:///nosuch/docker.sock" };
    const [found] = await detect(env, ["docker"]);
    expect(found?.facts.isUsable).toBe(false);
    expect(found?.facts.problem).toContain("systemctl start docker");
  });

  test("does not wait for a program that hangs, and ends it", async () => {
    const bin = makeScratchDir("bin");
    const pidFile = join(bin, "pid");
    writeFileSync(join(bin, "docker"), `#!/bin/sh\necho $$ >${pidFile}\nsleep 1000 & wait\n`);
    chmodSync(join(bin, "docker"), 0o755);
    const [dialect] = DIALECTS;
    const runtime =
      dialect === undefined
        ? undefined
        : new CliRuntime({
            dialect,
            program: join(bin, "docker"),
            env: { PATH: "/bin:/usr/bin" },
            dir: bin,
            probeMs: 500,
          });
    const facts = await runtime?.probe();
    expect(facts?.isUsable).toBe(false);
    expect(facts?.problem).toContain("did not end within");
    const pid = (await Bun.file(pidFile).text()).trim();
    expect(existsSync(`/proc/${pid}`)).toBe(false);
  }, 20_000);
});
