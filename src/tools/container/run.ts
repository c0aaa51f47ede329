/**
 * The life of one task in a container: pull, start, follow, collect; and when it is stopped, the proof that
 * nothing of it runs any more.
 *
 * The container outlives this process. Whoever runs the same command and attempt again finds it by its name and
 * goes on: nothing is done twice. It is removed when its outcome has arrived, by the tool's `settled`.
 */

import type {
  ContainerEnd,
  ContainerHandle,
  ContainerRuntime,
  StartedContainer,
} from "../../containers/runtime.ts";
import { errorMessage } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { unlessStopped } from "../task-error.ts";
import type { ToolCall, ToolContext, ToolOutcome, ToolParts } from "../tool.ts";
import { storeArtifacts } from "./artifacts.ts";
import { endFailure, OutputWatch } from "./failure.ts";
import type { Followed } from "./follow.ts";
import { followContainer, isLeft, stopContainer, unlessLeft } from "./follow.ts";
import type { ContainerPlan } from "./plan.ts";
import { readPlan } from "./plan.ts";
import { failureOf } from "./problem.ts";
import { pullImage, seconds } from "./pull.ts";
import { readGpus } from "./resources.ts";
import { LastJsonLine, readResult, withFacts } from "./result.ts";
import { buildSpec, checkLease, checkMounts, chooseRuntime, loginOf } from "./target.ts";

export type ContainerRunParts = Pick<
  ToolParts,
  "gpus" | "maxOutputBytes" | "mountDirs" | "runtimes"
>;

/** A container that this worker has to remove once its outcome has arrived. */
export interface HeldContainer {
  readonly runtime: ContainerRuntime;
  readonly handle: ContainerHandle;
}

export interface ContainerRunOptions {
  readonly parts: ContainerRunParts;
  readonly call: ToolCall;
  readonly context: ToolContext;
  /** GPUs that a task wants which says nothing of them. */
  readonly gpuDefault: number;
  /** Told once the container is there. */
  readonly onHeld: (held: HeldContainer) => void;
}

/** For processes to leave the GPUs of a container that has ended. */
const GPU_FREE_MS = 30_000;
/** A fault that repeats says nothing new. */
const XIDS_MAX = 3;

/** Rejects only on a bug. */
export async function runContainer(options: ContainerRunOptions): Promise<ToolOutcome> {
  const run = new ContainerRun(options, readPlan(options.call.config).plan);
  try {
    return await run.execute();
  } catch (error) {
    return { ok: false, failure: failureOf(error, options.context.signal) };
  }
}

class ContainerRun {
  readonly #options: ContainerRunOptions;
  readonly #plan: ContainerPlan;
  readonly #watch: OutputWatch;
  readonly #lastJson = new LastJsonLine();
  #pullSeconds = 0;
  #digest = "";

  constructor(options: ContainerRunOptions, plan: ContainerPlan) {
    this.#options = options;
    this.#plan = plan;
    this.#watch = new OutputWatch(options.context.gpus.length > 0);
  }

  async execute(): Promise<ToolOutcome> {
    const { runtime, handle } = await this.#begin().catch(async (error: unknown) => {
      await this.#endAdopted();
      throw error;
    });
    this.#options.onHeld({ runtime, handle });
    this.#noteStart(runtime, handle);
    if (runtime.isCluster) {
      this.#options.context.park();
    }
    const followed = await followContainer({
      ...{ runtime, handle, context: this.#options.context, timeouts: this.#plan.timeouts },
      say: (text) => this.#say(text),
      onLine: (stream, line) => {
        this.#watch.line(stream, line);
        if (stream === "stdout") {
          this.#lastJson.line(line);
        }
      },
    });
    return await this.#finish(runtime, handle, followed);
  }

  /** Rejects when nothing of it was left; but see {@link #endAdopted}. */
  async #begin(): Promise<{
    readonly runtime: ContainerRuntime;
    readonly handle: StartedContainer;
  }> {
    const { parts, call, context, gpuDefault } = this.#options;
    const plan = this.#plan;
    const { runtimes, maxOutputBytes: bytesMax } = parts;
    const runtime = await unlessStopped(chooseRuntime(runtimes, plan), context.signal);
    this.#noteWithoutEffect(runtime);
    await checkMounts(plan, parts.mountDirs);
    const login = await loginOf(plan, context);
    const gpu = readGpus(call.config, gpuDefault);
    checkLease(runtime, gpu, context);
    const spec = await buildSpec({ plan, runtime, runtimes, gpu, bytesMax, login }, call, context);
    await this.#pull(runtime, login);
    return { runtime, handle: await runtime.start(spec, unlessLeft(context.signal)) };
  }

  /** What was adopted runs already: it must end before anything is said of it. */
  async #endAdopted(): Promise<void> {
    const { parts, context, onHeld } = this.#options;
    const { adopted, commandId, attempt } = context.command;
    if (adopted === undefined || isLeft(context.signal)) {
      return;
    }
    const { platformId } = parts.runtimes.identity();
    for (const runtime of await parts.runtimes.usable()) {
      const found = (await runtime.list(platformId)).find(
        ({ owner }) =>
          owner.commandId === commandId && (owner.attempt === attempt || runtime.isCluster),
      );
      if (found !== undefined) {
        onHeld({ runtime, handle: found });
        const { stopGraceMs } = this.#plan.timeouts;
        const say = (text: string): void => this.#say(text);
        await stopContainer(runtime, found, { stopGraceMs, why: "given up", say });
        await this.#awaitFreeGpus();
      }
    }
  }

  #say(text: string): void {
    this.#options.context.log("system", text);
  }

  #noteWithoutEffect(runtime: ContainerRuntime): void {
    const { clusterFields } = this.#plan;
    if (!runtime.isCluster && clusterFields.length > 0) {
      this.#say(`${clusterFields.join(", ")}: without effect on ${runtime.name}`);
    }
  }

  /** A cluster pulls by itself, once it has the Job. What was adopted has its image. */
  async #pull(runtime: ContainerRuntime, login: Parameters<typeof pullImage>[1]["login"]) {
    if (runtime.isCluster) {
      return;
    }
    const { context } = this.#options;
    const isAdopted = context.command.adopted !== undefined;
    const begunMs = performance.now();
    try {
      const found = await pullImage(runtime, {
        image: this.#plan.image,
        policy: isAdopted ? "never" : this.#plan.pullPolicy,
        timeoutMs: this.#plan.timeouts.pullMs,
        login,
        signal: context.signal,
        say: (text) => this.#say(text),
      });
      this.#digest = found.digest;
      this.#pullSeconds = found.wasPulled ? seconds(performance.now() - begunMs) : 0;
    } catch (error) {
      if (!isAdopted || context.signal.aborted) {
        throw error;
      }
    }
  }

  #noteStart(runtime: ContainerRuntime, handle: StartedContainer): void {
    const { gpus } = this.#options.context;
    const what = handle.wasThere === true ? "found running" : "started";
    const on = gpus.map(({ id, name }) => `${name} (${id})`).join(", ");
    this.#say(`${what}: ${handle.name} on ${runtime.name}${on === "" ? "" : ` with ${on}`}`);
  }

  async #finish(
    runtime: ContainerRuntime,
    handle: StartedContainer,
    { end, stopped }: Followed,
  ): Promise<ToolOutcome> {
    const { signal } = this.#options.context;
    if (stopped !== undefined && isLeft(signal)) {
      return { ok: false, failure: stopped };
    }
    const busy = await this.#awaitFreeGpus();
    if (stopped !== undefined && busy !== undefined) {
      const message = `${stopped.message}; then ${busy}`;
      return { ok: false, failure: failure("gpu_fault", message, { code: "GPU_NOT_FREE" }) };
    }
    const facts = this.#facts(runtime, handle, end);
    if (signal.aborted && stopped !== undefined) {
      return { ok: false, failure: this.#withTail(stopped), value: withFacts(undefined, facts) };
    }
    const problem = stopped ?? this.#endFailure(end);
    return problem === undefined
      ? await this.#succeed(runtime, handle, facts)
      : await this.#fail(runtime, handle, this.#withTail(problem), facts);
  }

  #withTail(problem: Failure): Failure {
    const { tail } = this.#watch;
    return problem.stderr !== undefined || tail === "" ? problem : { ...problem, stderr: tail };
  }

  #endFailure(end: ContainerEnd | undefined): Failure | undefined {
    if (end === undefined) {
      return failure("internal", "nobody knows how the container ended", { code: "END_UNKNOWN" });
    }
    const { memoryText } = this.#plan.resources;
    // First, because it reads what is new, which may be why a GPU is broken.
    const xids = end.exitCode === 0 ? [] : this.#xidsSince(end.startedAtMs);
    const gpuReason = this.#gpuReason();
    return endFailure(end, {
      xids,
      watch: this.#watch,
      isRootWritable: this.#plan.isRootWritable,
      ...(memoryText === undefined ? {} : { memoryLimit: memoryText }),
      ...(gpuReason === undefined ? {} : { gpuReason }),
    });
  }

  #xidsSince(startedAtMs: number): readonly string[] {
    const { parts, context } = this.#options;
    const ids = context.gpus.map(({ id }) => id);
    const found = ids.length === 0 ? [] : (parts.gpus?.xidsSince(ids, startedAtMs) ?? []);
    return [...new Set(found)].slice(0, XIDS_MAX);
  }

  /** Why one of its GPUs has been taken out of service. */
  #gpuReason(): string | undefined {
    const { parts, context } = this.#options;
    const ids = new Set(context.gpus.map(({ id }) => id));
    const broken = parts.gpus
      ?.current()
      .find(({ id, state }) => ids.has(id) && state === "out_of_service");
    return broken === undefined
      ? undefined
      : `${broken.name}: ${broken.reason ?? "no reason given"}`;
  }

  /** Who would not leave its GPUs, a sentence; a shared one has others on it. */
  async #awaitFreeGpus(): Promise<string | undefined> {
    const { parts, context } = this.#options;
    const ids = context.gpus.flatMap(({ id, isShared }) => (isShared ? [] : [id]));
    if (ids.length === 0 || parts.gpus === undefined) {
      return undefined;
    }
    const { commandId } = context.command;
    const free = await parts.gpus.awaitFree(ids, { commandId, timeoutMs: GPU_FREE_MS });
    if (free.isFree) {
      return undefined;
    }
    this.#say(free.reason);
    return free.reason;
  }

  #facts(
    runtime: ContainerRuntime,
    handle: StartedContainer,
    end: ContainerEnd | undefined,
  ): JsonObject {
    const { gpus } = this.#options.context;
    const digest = end?.imageDigest ?? this.#digest;
    const [namespace, jobName] = runtime.isCluster ? handle.id.split("/") : [];
    const run = end === undefined ? null : seconds(end.endedAtMs - end.startedAtMs);
    return {
      exit_code: end?.exitCode ?? null,
      image: this.#plan.image,
      image_digest: digest === "" ? null : digest,
      runtime: runtime.name,
      container: handle.name,
      gpus: gpus.map(({ id, name }) => ({ id, name })),
      seconds: { pull: this.#pullSeconds, run },
      ...(jobName === undefined ? {} : { job_name: jobName, namespace: namespace ?? null }),
      ...handle.facts,
    };
  }

  async #succeed(
    runtime: ContainerRuntime,
    handle: ContainerHandle,
    facts: JsonObject,
  ): Promise<ToolOutcome> {
    const left = await this.#collect(runtime, handle);
    const result = left.result === undefined ? this.#lastJson.value() : readResult(left.result);
    return { ok: true, value: withFacts(result, { ...facts, artifacts: left.artifacts }) };
  }

  /** What the program has left counts all the same, as far as it can be read. */
  async #fail(
    runtime: ContainerRuntime,
    handle: ContainerHandle,
    problem: Failure,
    facts: JsonObject,
  ): Promise<ToolOutcome> {
    try {
      const left = await this.#collect(runtime, handle);
      const result = left.result === undefined ? this.#lastJson.value() : readLoosely(left.result);
      const value = withFacts(result, { ...facts, artifacts: left.artifacts });
      return { ok: false, failure: problem, value };
    } catch (error) {
      this.#say(`what it left cannot be kept: ${errorMessage(error)}`);
      return { ok: false, failure: problem, value: withFacts(undefined, facts) };
    }
  }

  async #collect(runtime: ContainerRuntime, handle: ContainerHandle) {
    const { call, context } = this.#options;
    const { result, artifacts, skipped = [] } = await runtime.collect(handle);
    for (const line of skipped) {
      this.#say(line);
    }
    return { result, artifacts: await storeArtifacts(artifacts, call, context) };
  }
}

function readLoosely(bytes: Uint8Array): Json | undefined {
  try {
    return readResult(bytes);
  } catch {
    // The failure of the program says more than that of its result.
    return undefined;
  }
}
