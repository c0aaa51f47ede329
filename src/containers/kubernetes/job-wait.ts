/** Waits until a Job has ended, and says meanwhile what it waits for. */
import type { ContainerEnd, ContainerHandle } from "../runtime.ts";
import { ContainerError } from "../runtime.ts";
import type { KubernetesApi } from "./api.ts";
import type { FollowedJob } from "./job-watch.ts";
import { pendingReason } from "./pending.ts";
import type { Verdict } from "./verdict.ts";
import { judge, newestPod } from "./verdict.ts";

export interface JobWaitOptions {
  readonly api: KubernetesApi;
  readonly namespace: string;
  readonly signal: AbortSignal;
  readonly onPhase: (line: string) => void;
  /** How long an image may fail to be pulled. */
  readonly pullTimeoutMs: number;
  /** Ends what the cluster would try for ever; resolves when it is gone. */
  readonly stop: (handle: ContainerHandle, graceMs: number) => Promise<void>;
}

/** While it is not running: how often its events are asked for what keeps it. */
const PENDING_MS = 1000;
const PENDING_MS_MAX = 60_000;
const OPEN_MS = 600_000;

export async function waitForJob(
  followed: FollowedJob,
  handle: ContainerHandle,
  options: JobWaitOptions,
): Promise<ContainerEnd> {
  const wait = new JobWait(followed, handle, options);
  return await wait.run();
}

class JobWait {
  readonly #followed: FollowedJob;
  readonly #handle: ContainerHandle;
  readonly #options: JobWaitOptions;
  readonly #startedAtMs = Date.now();
  #lastPhase = "";
  #pullFailedAtMs: number | undefined;
  #pendingMs = PENDING_MS;

  constructor(followed: FollowedJob, handle: ContainerHandle, options: JobWaitOptions) {
    this.#followed = followed;
    this.#handle = handle;
    this.#options = options;
  }

  async run(): Promise<ContainerEnd> {
    for (;;) {
      const { version, state, trouble } = this.#followed;
      const verdict = judge(state, Date.now());
      const end = await this.#act(verdict);
      if (end !== undefined) {
        return end;
      }
      if (trouble !== undefined) {
        this.#say(`the cluster does not answer: ${trouble}`);
      }
      await this.#next(verdict, version);
    }
  }

  async #act(verdict: Verdict): Promise<ContainerEnd | undefined> {
    switch (verdict.status) {
      case "ended":
        return verdict.end;
      case "open":
        this.#pullFailedAtMs = undefined;
        this.#say(verdict.phase);
        return undefined;
      case "image":
        return await this.#onImage(verdict.proof, verdict.isFinal);
      case "broken":
        await this.#options.stop(this.#handle, 0);
        throw verdict.error;
      case "lost":
        await this.#options.stop(this.#handle, 0);
        return verdict.end;
    }
  }

  async #onImage(proof: string, isFinal: boolean): Promise<ContainerEnd | undefined> {
    this.#pullFailedAtMs ??= Date.now();
    const hasTime = Date.now() - this.#pullFailedAtMs < this.#options.pullTimeoutMs;
    if (!isFinal && hasTime) {
      this.#say(`pulling: ${proof}`);
      return undefined;
    }
    await this.#options.stop(this.#handle, 0);
    const endedAtMs = Date.now();
    const cause = { kind: "image_pull", proof } as const;
    return { exitCode: 125, startedAtMs: this.#startedAtMs, endedAtMs, cause };
  }

  /** Until something changes, or there is reason to look though nothing has. */
  async #next(verdict: Verdict, version: number): Promise<void> {
    const { signal } = this.#options;
    await this.#followed.changed(version, this.#pauseMs(verdict), signal);
    const isSame = this.#followed.version === version;
    if (isSame && verdict.status === "open" && verdict.isPending) {
      this.#pendingMs = Math.min(PENDING_MS_MAX, this.#pendingMs * 2);
      await this.#sayReason();
    }
  }

  #pauseMs(verdict: Verdict): number {
    if (verdict.status === "image") {
      const sinceMs = Date.now() - (this.#pullFailedAtMs ?? Date.now());
      return Math.max(0, this.#options.pullTimeoutMs - sinceMs);
    }
    if (verdict.status !== "open") {
      return OPEN_MS;
    }
    const againMs =
      verdict.againAtMs === undefined ? OPEN_MS : Math.max(0, verdict.againAtMs - Date.now());
    return verdict.isPending ? Math.min(againMs, this.#pendingMs) : againMs;
  }

  async #sayReason(): Promise<void> {
    const { api, namespace, signal, stop } = this.#options;
    const { state } = this.#followed;
    const name = newestPod(state.pods)?.metadata.name ?? state.job?.metadata.name;
    if (name === undefined) {
      return;
    }
    const reason = await pendingReason(api, namespace, name, signal);
    if (reason?.isHopeless === true) {
      await stop(this.#handle, 0);
      throw new ContainerError("schema", "KUBERNETES_POLICY", reason.text);
    }
    if (reason !== undefined) {
      this.#say(reason.text);
    }
  }

  #say(phase: string): void {
    if (phase !== this.#lastPhase) {
      this.#lastPhase = phase;
      this.#options.onPhase(phase);
    }
  }
}
