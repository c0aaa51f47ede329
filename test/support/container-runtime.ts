/** What real podman and real dockerd have in common, as the tests start them. */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { CliRuntime } from "../../src/containers/cli-runtime.ts";
import type { Dialect } from "../../src/containers/dialect.ts";
import { DIALECTS } from "../../src/containers/dialect.ts";
import type { ContainerRuntime, ContainerSpec } from "../../src/containers/runtime.ts";

export type TestRuntimeName = "podman" | "docker";

export interface TestRuntime extends AsyncDisposable {
  readonly name: TestRuntimeName;
  /** For the program, and for workers that shall find it. */
  readonly env: Readonly<Record<string, string>>;
  readonly image: string;
  /** Of this runtime alone. */
  readonly dir: string;
  /** Another one is as good as a new worker's: nothing but the runtime and its folder is common to them. */
  connect(): ContainerRuntime;
  /** Runs the program itself; its output without the last newline. @throws Error when it fails. */
  call(...words: readonly string[]): string;
}

/** Why tests with these programs cannot run here; undefined: they can. */
export function whyNoContainers(programs: readonly string[]): string | undefined {
  const lacking = programs.filter((name) => Bun.which(name) === null);
  if (lacking.length > 0) {
    return `there is no ${lacking.join(", ")}: .ci/setup --test installs it`;
  }
  if (process.getuid?.() !== 0) {
    return "containers of the tests need root";
  }
  return isAllowed() ? undefined : "this machine allows no namespaces or no control groups";
}

function isAllowed(): boolean {
  try {
    accessSync("/sys/fs/cgroup", constants.W_OK);
  } catch {
    return false;
  }
  return Bun.spawnSync(["unshare", "--mount", "--pid", "--fork", "true"]).exitCode === 0;
}

export function createTestRuntime(
  parts: Pick<TestRuntime, "name" | "env" | "image" | "dir">,
  stop: () => Promise<void> | void,
): TestRuntime {
  const program = Bun.which(parts.name) ?? parts.name;
  return {
    ...parts,
    connect: () => {
      const { env, dir } = parts;
      return new CliRuntime({
        dialect: dialectOf(parts.name),
        program,
        env,
        dir: join(dir, "tasks"),
      });
    },
    call: (...words) => {
      const { exitCode, stdout, stderr } = Bun.spawnSync([program, ...words], {
        env: { ...parts.env },
      });
      if (exitCode !== 0) {
        throw new Error(`${parts.name} ${words.join(" ")}: ${stderr.toString()}`);
      }
      return stdout.toString().trim();
    },
    [Symbol.asyncDispose]: async () => await stop(),
  };
}

function dialectOf(name: TestRuntimeName): Dialect {
  const dialect = DIALECTS.find((one) => one.name === name);
  if (dialect === undefined) {
    throw new Error(`There is no dialect ${name}`);
  }
  return dialect;
}

let serial = 0;

/** A container that runs `script` in a shell, of a command of its own. */
export function shellSpec(script: string, more: Partial<ContainerSpec> = {}): ContainerSpec {
  const commandId = `${process.pid}${++serial}`;
  return {
    name: `noetl-test-${commandId}-1`,
    owner: {
      platformId: "test-platform",
      workerId: "test-worker",
      process: `test:${process.pid}:1`,
      executionId: "7",
      commandId,
      attempt: 1,
      step: "train, then = test",
      task: 'with "quotes"',
    },
    image: "localhost/noetl-test:1",
    command: ["sh", "-c", script],
    env: {},
    network: "none",
    mounts: [],
    files: {},
    resources: { ulimits: [] },
    gpus: { ids: [], count: 0 },
    isRootWritable: false,
    capabilities: [],
    mayGainPrivileges: false,
    stopGraceMs: 1000,
    ...more,
  };
}
