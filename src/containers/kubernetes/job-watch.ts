/**
 * What happens to Jobs of one namespace, for all that wait for one: two watches, one of Jobs and one of their
 * pods, while anybody waits, however many they are.
 */
import { sleep } from "../../core/clock.ts";
import type { Logger } from "../../observability/log.ts";
import type { KubernetesApi, KubernetesApiError } from "./api.ts";
import { explain, isStatus } from "./api.ts";
import type { JobObject, ObjectList, PodObject } from "./object.ts";
import { MANAGED } from "./owner.ts";
import { Reflector } from "./reflector.ts";
import type { JobState } from "./verdict.ts";

/** One Job as it is watched; dispose it. */
export interface FollowedJob extends Disposable {
  readonly state: JobState;
  /** Why nothing new can be heard now. */
  readonly trouble: string | undefined;
  /** Grows with each change. */
  readonly version: number;
  /** Resolves when there is a newer version than that one, or after `ms`; rejects on abort. */
  changed(version: number, ms: number, signal: AbortSignal): Promise<void>;
}

const PODS = { group: "", resource: "pods" } as const;
const JOBS = { group: "batch", resource: "jobs" } as const;

export class JobWatch {
  readonly #api: KubernetesApi;
  readonly #namespace: string;
  readonly #log: Logger;
  readonly #followed = new Map<string, Set<Followed>>();
  #running: Running | undefined;

  constructor(api: KubernetesApi, namespace: string, log: Logger) {
    this.#api = api;
    this.#namespace = namespace;
    this.#log = log.child({ namespace });
  }

  /**
   * Begins with the Job as it is now; whatever happens from then on is told.
   *
   * @throws ContainerError if the cluster forbids it; the signal's reason.
   */
  async follow(jobName: string, signal: AbortSignal): Promise<FollowedJob> {
    const followed = new Followed(() => this.#leave(jobName, followed));
    const all = this.#followed.get(jobName) ?? new Set();
    this.#followed.set(jobName, all.add(followed));
    this.#running ??= this.#start();
    try {
      await raceAbort(this.#running.ready, signal);
      // The watches run by now. What they tell meanwhile may be newer than the answer: ask again then.
      let told: number;
      let state: JobState;
      do {
        told = followed.toldCount;
        state = await this.#read(jobName, signal);
      } while (followed.toldCount !== told);
      followed.begin(state);
      return followed;
    } catch (error) {
      followed[Symbol.dispose]();
      throw explain(error);
    }
  }

  #leave(jobName: string, followed: Followed): void {
    const all = this.#followed.get(jobName);
    all?.delete(followed);
    if (all?.size === 0) {
      this.#followed.delete(jobName);
    }
    if (this.#followed.size === 0) {
      this.#running?.stop.abort();
      this.#running = undefined;
    }
  }

  async #read(jobName: string, signal: AbortSignal): Promise<JobState> {
    const namespace = this.#namespace;
    const job = this.#api
      .call({ verb: "get", ...JOBS, namespace, name: jobName }, signal)
      .catch((error: unknown) => {
        if (isStatus(error, 404)) {
          return undefined;
        }
        throw error;
      });
    const query = { labelSelector: `job-name=${jobName}` };
    const pods = this.#api.call({ verb: "list", ...PODS, namespace, query }, signal);
    const [found, list] = await Promise.all([job, pods]);
    return { job: found as JobObject | undefined, pods: (list as ObjectList<PodObject>).items };
  }

  #start(): Running {
    const stop = new AbortController();
    const jobs = Promise.withResolvers<void>();
    const pods = Promise.withResolvers<void>();
    const base = { api: this.#api, selector: MANAGED };
    const namespace = this.#namespace;
    const ofJobs = new Reflector<JobObject>({
      ...base,
      resource: { ...JOBS, namespace },
      onList: (items) => {
        this.#onJobs(items);
        jobs.resolve();
      },
      onChange: (job, isDeleted) =>
        this.#tell(job.metadata.name, (f) => f.setJob(isDeleted ? undefined : job)),
      onTrouble: (error) => this.#onTrouble(error, jobs.reject),
    });
    const ofPods = new Reflector<PodObject>({
      ...base,
      resource: { ...PODS, namespace },
      onList: (items) => {
        this.#onPods(items);
        pods.resolve();
      },
      onChange: (pod, isDeleted) => this.#tell(jobOf(pod), (f) => f.setPod(pod, isDeleted)),
      onTrouble: (error) => this.#onTrouble(error, pods.reject),
    });
    void ofJobs.run(stop.signal);
    void ofPods.run(stop.signal);
    const ready = Promise.all([jobs.promise, pods.promise]);
    ready.catch(() => undefined);
    return { stop, ready };
  }

  #onJobs(items: readonly JobObject[]): void {
    const byName = new Map(items.map((job) => [job.metadata.name, job]));
    for (const jobName of this.#followed.keys()) {
      this.#tell(jobName, (followed) => followed.setJob(byName.get(jobName)));
    }
  }

  #onPods(items: readonly PodObject[]): void {
    const byJob = Map.groupBy(items, jobOf);
    for (const jobName of this.#followed.keys()) {
      this.#tell(jobName, (followed) => followed.setPods(byJob.get(jobName) ?? []));
    }
  }

  #tell(jobName: string, what: (followed: Followed) => void): void {
    for (const followed of this.#followed.get(jobName) ?? []) {
      what(followed);
    }
  }

  /** What is forbidden from the start ends the wait; later it may be a mistake that is put right. */
  #onTrouble(error: KubernetesApiError | undefined, reject: (error: unknown) => void): void {
    if (error !== undefined) {
      this.#log.warn("The watch of Jobs broke off", { reason: error.message });
      if (!error.isPassing) {
        reject(error);
      }
    }
    for (const jobName of this.#followed.keys()) {
      this.#tell(jobName, (followed) => followed.setTrouble(error?.message));
    }
  }
}

interface Running {
  readonly stop: AbortController;
  readonly ready: Promise<unknown>;
}

function jobOf(pod: PodObject): string {
  return pod.metadata.labels?.["job-name"] ?? "";
}

class Followed implements FollowedJob {
  readonly #leave: () => void;
  readonly #pods = new Map<string, PodObject>();
  #job: JobObject | undefined;
  #wake = Promise.withResolvers<void>();
  /** Changes that came, also before it began. */
  toldCount = 0;
  version = 0;
  trouble: string | undefined;

  constructor(leave: () => void) {
    this.#leave = leave;
  }

  get state(): JobState {
    return { job: this.#job, pods: [...this.#pods.values()] };
  }

  begin({ job, pods }: JobState): void {
    this.setJob(job);
    this.setPods(pods);
  }

  setJob(job: JobObject | undefined): void {
    this.toldCount++;
    this.#job = job;
    this.#bump();
  }

  setPods(pods: readonly PodObject[]): void {
    this.toldCount++;
    this.#pods.clear();
    for (const pod of pods) {
      this.#pods.set(pod.metadata.name, pod);
    }
    this.#bump();
  }

  setPod(pod: PodObject, isDeleted: boolean): void {
    this.toldCount++;
    if (isDeleted) {
      this.#pods.delete(pod.metadata.name);
    } else {
      this.#pods.set(pod.metadata.name, pod);
    }
    this.#bump();
  }

  setTrouble(trouble: string | undefined): void {
    if (this.trouble !== trouble) {
      this.trouble = trouble;
      this.#bump();
    }
  }

  #bump(): void {
    this.version++;
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  async changed(version: number, ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.version !== version) {
      return;
    }
    const stop = new AbortController();
    const pause = sleep(ms, AbortSignal.any([stop.signal, signal]));
    await Promise.race([this.#wake.promise, pause]);
    stop.abort();
    signal.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#leave();
  }
}

async function raceAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
