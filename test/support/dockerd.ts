/** A real dockerd with its own folders and socket, and without a network. */
import {
  chmodSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { usesFolder } from "../../src/embedded/child.ts";
import { IMAGE_CHANGES, imageArchive, TEST_IMAGE } from "./container-image.ts";
import type { TestRuntime } from "./container-runtime.ts";
import { createTestRuntime, whyNoContainers } from "./container-runtime.ts";
import { removeMounts } from "./mounts.ts";
import { afterRun, makeScratchDir, reapDeadRuns } from "./scratch.ts";
import { waitFor } from "./wait.ts";

const PATH = `${process.env["PATH"]}:/usr/sbin:/sbin`;

/** Why tests with docker are skipped; undefined: they run. */
export const noDockerd =
  Bun.which("dockerd", { PATH }) === null
    ? "there is no dockerd: .ci/setup --test installs it"
    : whyNoContainers(["docker", "containerd", "busybox", "tar", "unshare"]);

export interface Dockerd extends TestRuntime {
  /** From now on NVIDIA's hook fails with that text, or works when there is none. */
  breakHook(text: string | undefined): void;
  /** States of containers that the hook was called for, newest last. */
  hookCalls(): readonly string[];
  stop(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  /** After {@link stop}. */
  start(): Promise<void>;
}

let shared: Promise<Dockerd> | undefined;

/** One for the whole test process, which nobody may stop. */
export function sharedDockerd(): Promise<Dockerd> {
  shared ??= startShared();
  return shared;
}

async function startShared(): Promise<Dockerd> {
  await reapDeadRuns();
  const dockerd = await startDockerd();
  afterRun(async () => await dockerd[Symbol.asyncDispose]());
  return dockerd;
}

export async function startDockerd(): Promise<Dockerd> {
  if (noDockerd !== undefined) {
    throw new Error(`Dockerd cannot be used: ${noDockerd}`);
  }
  const dir = makeScratchDir("dockerd");
  const hook = writeHook(dir);
  const daemon = new Daemon(dir);
  const env = { PATH, HOME: dir, DOCKER_HOST: `unix://${daemon.socket}` };
  const runtime = createTestRuntime({ name: "docker", env, image: TEST_IMAGE, dir }, async () => {
    Bun.spawnSync(["sh", "-c", "docker ps -aq | xargs -r docker rm -fv"], { env });
    await daemon.close();
    removeMounts(dir);
  });
  await daemon.start();
  runtime.call("import", ...IMAGE_CHANGES, imageArchive(), TEST_IMAGE);
  return {
    ...runtime,
    ...hook,
    start: async () => await daemon.start(),
    stop: async (signal) => await daemon.stop(signal),
  };
}

/** Stand-in of NVIDIA's hook: docker finds it by its name, and then offers `--gpus`. */
function writeHook(dir: string): Pick<Dockerd, "breakHook" | "hookCalls"> {
  const bin = join(dir, "bin");
  mkdirSync(bin);
  const [calls, failure] = [join(dir, "hook-calls"), join(dir, "hook-failure")];
  const path = join(bin, "nvidia-container-runtime-hook");
  const script = `#!/bin/sh\ncat >>${calls}; echo >>${calls}\n[ -e ${failure} ] || exit 0\ncat ${failure} >&2\nexit 1\n`;
  writeFileSync(path, script);
  writeFileSync(calls, "");
  chmodSync(path, 0o755);
  return {
    breakHook: (text) => {
      if (text === undefined) {
        rmSync(failure, { force: true });
      } else {
        writeFileSync(failure, `${text}\n`);
      }
    },
    hookCalls: () =>
      readFileSync(calls, "utf8")
        .split("\n")
        .filter((line) => line !== ""),
  };
}

/** Dockerd, and containerd beside it as on a real machine: containers go on when dockerd dies. */
class Daemon {
  readonly socket: string;
  readonly #dir: string;
  readonly #log: number;
  #containerd: Bun.Subprocess | undefined;
  #dockerd: Bun.Subprocess | undefined;

  constructor(dir: string) {
    this.#dir = dir;
    this.#log = openSync(join(dir, "dockerd.log"), "a");
    this.socket = join(dir, "docker.sock");
    writeFileSync(join(dir, "containerd.toml"), containerdConfig(dir));
  }

  async start(): Promise<void> {
    const dir = this.#dir;
    this.#containerd ??= this.#spawn([
      "containerd",
      `--config=${join(dir, "containerd.toml")}`,
      "--log-level=warn",
    ]);
    const dockerd = this.#spawn(["dockerd", ...dockerdFlags(dir)]);
    this.#dockerd = dockerd;
    const env = { PATH, HOME: dir, DOCKER_HOST: `unix://${this.socket}` };
    await waitFor("dockerd", () => {
      if (dockerd.exitCode !== null) {
        throw new Error(readFileSync(join(dir, "dockerd.log"), "utf8").slice(-2000));
      }
      return Bun.spawnSync(["docker", "version"], { env }).exitCode === 0;
    });
  }

  /** When the tests are killed both are told to end, and end their containers. */
  #spawn(words: readonly string[]): Bun.Subprocess {
    return Bun.spawn(["setpriv", "--pdeathsig=SIGTERM", "--", ...words], {
      env: { PATH: `${join(this.#dir, "bin")}:${PATH}`, HOME: this.#dir },
      stdio: ["ignore", this.#log, this.#log],
      detached: true,
    });
  }

  async stop(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    this.#dockerd?.kill(signal);
    await this.#dockerd?.exited;
    // Of one that was killed.
    rmSync(join(this.#dir, "dockerd.pid"), { force: true });
  }

  async close(): Promise<void> {
    await this.stop("SIGTERM");
    this.#containerd?.kill("SIGTERM");
    await this.#containerd?.exited;
    this.#endShims();
  }

  /** Those of containers that dockerd has lost stay, also when nothing runs in them any more. */
  #endShims(): void {
    const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
    for (const pid of all.map(Number).filter((one) => usesFolder(one, this.#dir))) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone in between.
      }
    }
  }
}

function containerdConfig(dir: string): string {
  return [
    "version = 2",
    `root = "${join(dir, "containerd/root")}"`,
    `state = "${join(dir, "containerd/state")}"`,
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
    "[grpc]",
    `address = "${join(dir, "containerd.sock")}"`,
    "",
  ].join("\n");
}

function dockerdFlags(dir: string): readonly string[] {
  return [
    ...[`--data-root=${join(dir, "data")}`, `--exec-root=${join(dir, "exec")}`],
    ...[`--pidfile=${join(dir, "dockerd.pid")}`, `--host=unix://${join(dir, "docker.sock")}`],
    `--containerd=${join(dir, "containerd.sock")}`,
    ...["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"],
    ...["--bridge=none", "--storage-driver=overlay2"],
  ];
}
