/** Docker, podman and nerdctl by their command line; where they differ, dialect.ts says how. */
import { chmod, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sleep } from "../core/clock.ts";
import type { RuntimeFacts } from "../engine/command.ts";
import { Cli } from "./cli.ts";
import { callError, isLost, isMissing, isNameTaken, lostError, startError } from "./cli-error.ts";
import type { CliEnvironment } from "./cli-process.ts";
import { containerEnd } from "./container-end.ts";
import { ContainerLogs } from "./container-logs.ts";
import type { ContainerFinish } from "./container-watch.ts";
import { ContainerWatch, isProcessGone, isProcessOf } from "./container-watch.ts";
import type { Dialect, GpuMode } from "./dialect.ts";
import { Images } from "./image-pull.ts";
import type { Inspection } from "./inspection.ts";
import { gpuIdsOf, ownerOf, PLATFORM_LABEL } from "./labels.ts";
import type { OnLogLine } from "./log-lines.ts";
import { endLostProcesses } from "./lost-processes.ts";
import { probeRuntime } from "./probe.ts";
import { runCall } from "./run-words.ts";
import type {
  ContainerEnd,
  ContainerHandle,
  ContainerRuntime,
  ContainerSpec,
  FoundContainer,
  ImageInfo,
  PullOptions,
  StartedContainer,
} from "./runtime.ts";
import { ContainerError } from "./runtime.ts";
import type { Collected, TaskFolder } from "./task-folder.ts";
import {
  collectTaskFolder,
  fillTaskFolder,
  isForeign,
  listOldFolders,
  makeTaskFolder,
  markStopped,
  readEndMarks,
  readFolderOwner,
  readPid,
  removeTaskFolder,
  taskFolder,
} from "./task-folder.ts";
import type { OwnLimits } from "./ulimits.ts";
import { readOwnLimits } from "./ulimits.ts";

export interface CliRuntimeOptions {
  readonly dialect: Dialect;
  /** Path of the program. */
  readonly program: string;
  /** Environment of the program: PATH, HOME, DOCKER_HOST, CONTAINERS_CONF and the like. */
  readonly env: CliEnvironment;
  /** Where the tasks' folders are, on the machine that runs the containers. */
  readonly dir: string;
  /** How long it may take to say who it is. Default 8 s. */
  readonly probeMs?: number;
}

/** Hooks that wake a GPU take their time. */
const START_MS = 120_000;
/** Beyond the grace, until a killed container must be gone. */
const KILL_MS = 30_000;
/** A daemon that is away may come back. */
const STOP_OUTAGE_MS = 120_000;
const STOP_POLL_MS_MAX = 200;
const RESULT_BYTES_MAX = 64 * 1024 * 1024;
/** A start makes its folder first, so a young one may have no container yet. */
const FOLDER_AGE_MS = 3_600_000;
const HELPER_MS = 60_000;

export class CliRuntime implements ContainerRuntime {
  readonly isCluster = false;
  readonly #options: CliRuntimeOptions;
  readonly #dir: string;
  readonly #cli: Cli;
  readonly #images: Images;
  readonly #watch: ContainerWatch;
  readonly #logs: ContainerLogs;
  /** A daemon of root's may raise limits though this process may not. */
  readonly #own: OwnLimits | undefined;

  constructor(options: CliRuntimeOptions) {
    this.#options = options;
    this.#dir = join(options.dir, options.dialect.name);
    const { program, env, dialect } = options;
    this.#cli = new Cli({ program, name: dialect.name, env });
    this.#images = new Images(this.#cli, dialect, options.dir);
    this.#watch = new ContainerWatch(this.#cli);
    this.#logs = new ContainerLogs({
      cli: this.#cli,
      hasLogFile: dialect.hasLogFile,
      logFileOf: (name) => taskFolder(this.#dir, name).logFile,
      onOutage: (id) => this.#watch.noteOutage(id),
    });
    this.#own = dialect.name === "podman" || isRoot() ? readOwnLimits() : undefined;
  }

  get name(): Dialect["name"] {
    return this.#options.dialect.name;
  }

  async probe(): Promise<RuntimeFacts> {
    return (await this.#probe()).facts;
  }

  async #probe(): Promise<{ readonly facts: RuntimeFacts; readonly gpuMode: GpuMode }> {
    return await probeRuntime(this.#cli, this.#options);
  }

  async pull(image: string, options: PullOptions): Promise<ImageInfo> {
    return await this.#images.pull(image, options);
  }

  async start(spec: ContainerSpec, signal: AbortSignal): Promise<StartedContainer> {
    signal.throwIfAborted();
    const gpuMode = spec.gpus.ids.length === 0 ? "none" : (await this.#probe()).gpuMode;
    const folder = taskFolder(this.#dir, spec.name);
    const isNew = await makeTaskFolder(folder);
    const found = isNew ? undefined : await this.#cli.inspect(spec.name);
    const started =
      found === undefined
        ? await this.#create(spec, folder, gpuMode)
        : await this.#attach(spec, found);
    if (signal.aborted && started.wasThere !== true) {
      // Begun before the abort, so nobody else knows of it.
      await this.remove(started);
    }
    signal.throwIfAborted();
    return started;
  }

  async #create(
    spec: ContainerSpec,
    folder: TaskFolder,
    gpuMode: GpuMode,
  ): Promise<StartedContainer> {
    try {
      const { dialect } = this.#options;
      const { words, env, envFile } = runCall(spec, folder, { dialect, gpuMode, own: this.#own });
      const { image } = spec;
      const { platformId } = spec.owner;
      await fillTaskFolder(folder, { platformId, image }, spec.files);
      if (envFile !== "") {
        await writeFile(folder.envFile, envFile, { mode: 0o600 });
      }
      return await this.#run(spec, words, env);
    } catch (error) {
      if (!(error instanceof ContainerError && error.code === "CONTAINER_NAME_TAKEN")) {
        await this.#discard(spec.name);
      }
      throw error;
    } finally {
      await rm(folder.envFile, { force: true });
    }
  }

  /** A daemon that was away may have done it all the same: then the name is taken. */
  async #run(
    spec: ContainerSpec,
    words: readonly string[],
    env: CliEnvironment,
  ): Promise<StartedContainer> {
    return await this.#cli.whileAway(async () => {
      const cwd = taskFolder(this.#dir, spec.name).dir;
      const result = await this.#cli.tryCall(words, { env, cwd, timeoutMs: START_MS });
      if (result.exitCode === 0) {
        return { id: lastLine(result.stdout), name: spec.name };
      }
      if (isNameTaken(result.stderr)) {
        const found = await this.#cli.inspect(spec.name);
        if (found !== undefined) {
          return await this.#attach(spec, found);
        }
      }
      const error = startError(this.name, spec.name, result.stderr);
      if (error.code === "IMAGE_GONE") {
        this.#images.forget(spec.image);
      }
      throw error;
    });
  }

  async #attach(spec: ContainerSpec, found: Inspection): Promise<StartedContainer> {
    const owner = ownerOf(found.labels);
    const { commandId, attempt } = spec.owner;
    if (owner?.commandId !== commandId || owner.attempt !== attempt) {
      throw new ContainerError(
        "internal",
        "CONTAINER_NAME_TAKEN",
        `${this.name} has a container ${spec.name} already, and it is not of command ${commandId}, attempt ${attempt}`,
        false,
      );
    }
    const handle = { id: found.id, name: spec.name };
    if (found.status !== "created") {
      return { ...handle, wasThere: true, startedAtMs: found.startedAtMs };
    }
    const { exitCode, stderr } = await this.#cli.call(["start", found.id], {
      timeoutMs: START_MS,
      cwd: taskFolder(this.#dir, spec.name).dir,
    });
    if (exitCode !== 0) {
      const wasLost = isLost(stderr) && (await endLostProcesses(found.id));
      throw wasLost ? lostError(this.name, spec.name) : startError(this.name, spec.name, stderr);
    }
    return handle;
  }

  /** What a start that failed has left. */
  async #discard(name: string): Promise<void> {
    await this.remove({ id: name, name }).catch(() => undefined);
  }

  async list(platformId: string): Promise<readonly FoundContainer[]> {
    const filter = `label=${PLATFORM_LABEL}=${platformId}`;
    const ids = await this.#cli.must(["ps", "--all", "--quiet", "--no-trunc", "--filter", filter]);
    const containers = await this.#cli.inspectAll(ids.split("\n").filter((id) => id !== ""));
    const found = containers.flatMap(toFound);
    await this.#sweepFolders(platformId, new Set(found.map(({ name }) => name)));
    return found;
  }

  /** Folders whose containers somebody else has removed. */
  async #sweepFolders(platformId: string, names: ReadonlySet<string>): Promise<void> {
    for (const name of await listOldFolders(this.#dir, FOLDER_AGE_MS)) {
      const folder = taskFolder(this.#dir, name);
      const isOurs = (await readFolderOwner(folder))?.platformId === platformId;
      if (isOurs && !names.has(name)) {
        await this.#removeFolder(folder);
      }
    }
  }

  async logs(
    handle: ContainerHandle,
    options: {
      readonly sinceMs?: number;
      readonly seenCount?: number;
      readonly signal: AbortSignal;
    },
    onLine: OnLogLine,
  ): Promise<void> {
    const ended = new AbortController();
    const ending = this.#untilEnded(handle, options.signal).finally(() => ended.abort());
    const following = this.#logs.follow(handle, { ...options, ended: ended.signal }, onLine);
    const [, outcome] = await Promise.allSettled([following, ending]);
    await following;
    if (outcome.status === "rejected" && !options.signal.aborted) {
      throw outcome.reason;
    }
  }

  async wait(
    handle: ContainerHandle,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<ContainerEnd> {
    const finish = await this.#untilEnded(handle, signal);
    return await containerEnd(finish, {
      runtime: this.name,
      marks: await readEndMarks(taskFolder(this.#dir, handle.name)),
      readLines: async () => await this.#logs.lastLines(handle),
    });
  }

  async #untilEnded({ id, name }: ContainerHandle, signal: AbortSignal): Promise<ContainerFinish> {
    const findPid = async (): Promise<number> => await readPid(taskFolder(this.#dir, name));
    return await this.#watch.untilEnded(id, { signal, findPid });
  }

  async stop(handle: ContainerHandle, graceMs: number): Promise<void> {
    await markStopped(taskFolder(this.#dir, handle.name));
    const outage = { outageMs: STOP_OUTAGE_MS };
    const before = await this.#cli.inspect(handle.id, outage);
    if (before === undefined || before.status !== "running" || (await this.#isGone(handle))) {
      return;
    }
    const seconds = Math.max(0, Math.ceil(graceMs / 1000));
    const timeoutMs = seconds * 1000 + KILL_MS;
    await this.#attempt(["stop", `--time=${seconds}`, handle.id], timeoutMs);
    const giveUpAtMs = performance.now() + KILL_MS;
    for (let pauseMs = 5; await this.#isAlive(handle, before); pauseMs *= 1.5) {
      if (performance.now() > giveUpAtMs) {
        throw unkillableError(this.name, handle);
      }
      await this.#attempt(["kill", "--signal=KILL", handle.id], KILL_MS);
      await sleep(Math.min(pauseMs, STOP_POLL_MS_MAX));
    }
  }

  /** Whether it helped shows in whether the container lives. */
  async #attempt(words: readonly string[], timeoutMs: number): Promise<void> {
    await this.#cli.call(words, { timeoutMs, outageMs: STOP_OUTAGE_MS }).catch((error: unknown) => {
      if (!(error instanceof ContainerError && error.code === "RUNTIME_TIMEOUT")) {
        throw error;
      }
    });
  }

  async #isAlive(handle: ContainerHandle, before: Inspection): Promise<boolean> {
    const now = await this.#cli.inspect(before.id, { outageMs: STOP_OUTAGE_MS });
    return now?.status === "running" ? !(await this.#isGone(handle)) : isProcessOf(before);
  }

  /** True: its first process, and so all of them, has ended, whatever the runtime says. */
  async #isGone({ name }: ContainerHandle): Promise<boolean> {
    return isProcessGone(await readPid(taskFolder(this.#dir, name)));
  }

  async collect({ name }: ContainerHandle): Promise<Collected> {
    const folder = taskFolder(this.#dir, name);
    try {
      return await collectTaskFolder(folder, RESULT_BYTES_MAX);
    } catch (error) {
      if (!isForeign(error)) {
        throw error;
      }
      await this.#openFolder(folder);
      return await collectTaskFolder(folder, RESULT_BYTES_MAX);
    }
  }

  async remove(handle: ContainerHandle): Promise<void> {
    const words = ["rm", ...this.#options.dialect.removeFlags, handle.id];
    const { exitCode, stderr } = await this.#cli.call(words, { timeoutMs: KILL_MS });
    if (exitCode !== 0 && !isMissing(stderr) && (await this.#isThere(handle.id))) {
      throw callError(this.name, "rm", stderr);
    }
    await this.#removeFolder(taskFolder(this.#dir, handle.name));
  }

  /** Another removal may be under way. */
  async #isThere(id: string): Promise<boolean> {
    const giveUpAtMs = performance.now() + KILL_MS;
    while (performance.now() < giveUpAtMs) {
      if ((await this.#cli.inspect(id)) === undefined) {
        return false;
      }
      await sleep(STOP_POLL_MS_MAX);
    }
    return true;
  }

  async #removeFolder(folder: TaskFolder): Promise<void> {
    try {
      await removeTaskFolder(folder);
    } catch (error) {
      if (!isForeign(error)) {
        throw error;
      }
      await this.#openFolder(folder);
      await removeTaskFolder(folder);
    }
  }

  /** Opens what the task's user has closed to this one, with the means of the runtime. */
  async #openFolder(folder: TaskFolder): Promise<void> {
    const image = (await readFolderOwner(folder))?.image ?? "";
    const words =
      this.name === "podman"
        ? ["unshare", "chmod", "-R", "a+rwX", folder.mountDir]
        : [
            ...["run", "--rm", "--pull=never", "--network=none", "--user=0", "--entrypoint=chmod"],
            ...[`--volume=${folder.mountDir}:/noetl:Z`, image, "-R", "a+rwX", "/noetl"],
          ];
    await chmod(folder.mountDir, 0o777).catch(() => undefined);
    const { exitCode, stderr } = await this.#cli.call(words, { timeoutMs: HELPER_MS });
    if (exitCode !== 0) {
      throw callError(this.name, "run chmod", stderr);
    }
  }
}

function toFound(container: Inspection): readonly FoundContainer[] {
  const owner = ownerOf(container.labels);
  const { id, name, status, labels } = container;
  return owner === undefined
    ? []
    : [{ id, name, owner, isRunning: status === "running", gpuIds: gpuIdsOf(labels) }];
}

function unkillableError(runtime: string, { name }: ContainerHandle): ContainerError {
  return new ContainerError(
    "internal",
    "CONTAINER_UNKILLABLE",
    `${runtime} cannot end the container ${name}: a process of it hangs in the kernel, often in a GPU's driver; ` +
      "restart that machine",
    true,
  );
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.trim() ?? "";
}
