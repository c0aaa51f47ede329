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
import { sleep } from "../../core/clock.ts";
import { errorMessage } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { stoppedFailure } from "../stopped.ts";
import { taskError, unlessStopped } from "../task-error.ts";
import type { ToolCall, ToolContext, ToolOutcome, ToolParts } from "../tool.ts";
import { LEAVE } from "../tool.ts";
import { storeArtifacts } from "./artifacts.ts";
import { endFailure, OutputWatch } from "./failure.ts";
import type { ContainerPlan } from "./plan.ts";
import { readPlan } from "./plan.ts";
import { failureOf } from "./problem.ts";
import { pullImage, seconds } from "./pull.ts";
import { readGpus } from "./resources.ts";
import { LastJsonLine, readResult, withFacts } from "./result.ts";
import { buildSpec, checkMounts, chooseRuntime, loginOf } from "./target.ts";

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

/** After the end, for what a runtime has not handed over yet. */
const DRAIN_MS = 10_000;
/** For processes to leave the GPUs of a container that has ended. */
const GPU_FREE_MS = 30_000;

/** Rejects only on a bug. */
export async function runContainer(options: ContainerRunOptions): Promise<ToolOutcome> {
  const run = new ContainerRun(options, readPlan(options.call.config).plan);
  try {
    return await run.execute();
  } catch (error) {
    return { ok: false, failure: failureOf(error, options.context.signal) };
  }
}

/** The end of a container, and why it was stopped, if it was. */
interface Followed {
  readonly end: ContainerEnd | undefined;
  readonly stopped: Failure | undefined;
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
    const followed = await this.#follow(runtime, handle);
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
    const spec = await buildSpec({ plan, runtime, runtimes, gpu, bytesMax, login }, call, context);
    await this.#pull(runtime, login);
    return { runtime, handle: await runtime.start(spec, context.signal) };
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
        await this.#stop(runtime, found, stoppedFailure(context.signal));
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

  /** Until it has ended, by itself or because it was stopped. */
  async #follow(runtime: ContainerRuntime, handle: StartedContainer): Promise<Followed> {
    const { signal } = this.#options.context;
    const limit = this.#runLimit(handle);
    const logStop = new AbortController();
    const logging = this.#followLogs(runtime, handle, logStop.signal);
    try {
      const end = await runtime.wait(handle, {
        signal: AbortSignal.any([signal, limit.signal]),
        onPhase: (line) => this.#say(line),
      });
      await this.#drain(logging);
      return { end, stopped: undefined };
    } catch (error) {
      if (!signal.aborted && !limit.signal.aborted) {
        // Nobody can follow it any more: what is reported as failed must not run on.
        await runtime.stop(handle, this.#plan.timeouts.stopGraceMs);
        throw error;
      }
      if (isLeft(signal)) {
        return { end: undefined, stopped: stoppedFailure(signal) };
      }
      const stopped = signal.aborted ? stoppedFailure(signal) : this.#overdue();
      const end = await this.#stop(runtime, handle, stopped);
      await this.#drain(logging);
      return { end, stopped };
    } finally {
      limit.end();
      logStop.abort();
      await logging;
    }
  }

  /** Of the run alone; the task's own limit is in the context's signal. */
  #runLimit({ startedAtMs = Date.now() }: StartedContainer) {
    const { runMs } = this.#plan.timeouts;
    const limit = new AbortController();
    const leftMs = runMs === undefined ? undefined : startedAtMs + runMs - Date.now();
    const timer =
      leftMs === undefined ? undefined : setTimeout(() => limit.abort(), Math.max(0, leftMs));
    return { signal: limit.signal, end: () => clearTimeout(timer) };
  }

  #overdue(): Failure {
    const limit = seconds(this.#plan.timeouts.runMs ?? 0);
    const message = `the container ran longer than timeouts.run, ${limit} s, and was stopped`;
    return failure("timeout", message, { code: "RUN_TIMEOUT" });
  }

  async #followLogs(
    runtime: ContainerRuntime,
    handle: ContainerHandle,
    signal: AbortSignal,
  ): Promise<void> {
    const { log, command } = this.#options.context;
    const { loggedUntilMs = 0 } = command.adopted ?? {};
    try {
      // All of it also when it was adopted: what was written before may explain the end, or be the result.
      await runtime.logs(handle, { signal }, (stream, line, timeMs) => {
        this.#watch.line(stream, line);
        if (stream === "stdout") {
          this.#lastJson.line(line);
        }
        if (timeMs >= loggedUntilMs) {
          log(stream, line, timeMs);
        }
      });
    } catch (error) {
      this.#say(`its output cannot be followed any more: ${errorMessage(error)}`);
    }
  }

  async #drain(logging: Promise<void>): Promise<void> {
    const enough = new AbortController();
    const isDone = await Promise.race([
      logging.then(() => true),
      sleep(DRAIN_MS, enough.signal).then(() => false),
    ]);
    enough.abort();
    if (!isDone) {
      this.#say("the end of its output did not come in time and is left out");
    }
  }

  /** Resolves when nothing of it runs any more. */
  async #stop(
    runtime: ContainerRuntime,
    handle: ContainerHandle,
    { kind }: Failure,
  ): Promise<ContainerEnd | undefined> {
    const { stopGraceMs } = this.#plan.timeouts;
    const why = kind === "timeout" ? "out of time" : "told to stop";
    this.#say(`${why}: SIGTERM, and SIGKILL after ${seconds(stopGraceMs)} s`);
    try {
      await runtime.stop(handle, stopGraceMs);
    } catch (error) {
      const message = `The container ${handle.name} cannot be stopped: ${errorMessage(error)}`;
      this.#say(message);
      throw taskError("internal", "CONTAINER_NOT_STOPPED", message);
    }
    this.#say("nothing of it runs any more");
    return await runtime
      .wait(handle, { signal: AbortSignal.timeout(DRAIN_MS) })
      .catch(() => undefined);
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
    const gpuReason = this.#gpuReason();
    return endFailure(end, {
      watch: this.#watch,
      isRootWritable: this.#plan.isRootWritable,
      ...(memoryText === undefined ? {} : { memoryLimit: memoryText }),
      ...(gpuReason === undefined ? {} : { gpuReason }),
    });
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

/** What the worker leaves for the next one; of a lost command nobody here knows whose it is now. */
function isLeft({ reason }: AbortSignal): boolean {
  return reason === LEAVE || reason === "lost";
}

function readLoosely(bytes: Uint8Array): Json | undefined {
  try {
    return readResult(bytes);
  } catch {
    // The failure of the program says more than that of its result.
    return undefined;
  }
}
