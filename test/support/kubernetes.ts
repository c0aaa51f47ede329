/**
 * A STAND-IN for the API server of a Kubernetes cluster, for tests without one. Its answers have the form of
 * recorded ones (v1.31): lists, watches with bookmarks and 410, logs, Status errors. It plays the controllers'
 * part only as far as a test tells it to. It refuses what a real one refuses: unknown fields, names that are
 * taken, tokens that it does not know, watches from before it forgot.
 */
import type { StandInObject } from "./kubernetes-objects.ts";
import { matches, now, StandInObjects } from "./kubernetes-objects.ts";
import { manifestProblems } from "./kubernetes-schema.ts";

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: StandInObject | undefined;
}

const KINDS: Readonly<Record<string, string>> = {
  jobs: "V1Job",
  pods: "V1Pod",
  secrets: "V1Secret",
  events: "CoreV1Event",
};

export interface StandInOptions {
  readonly token?: string;
  readonly tls?: { readonly cert: string; readonly key: string };
}

export class StandInCluster extends StandInObjects implements AsyncDisposable {
  /** That of the next requests. */
  token: string;
  readonly #tls: StandInOptions["tls"];
  readonly #forbidden = new Set<string>();
  #server: ReturnType<typeof Bun.serve> | undefined;
  /** Answers to the next requests, in place of their own: `503`. */
  readonly faults: number[] = [];
  /** All requests so far. */
  readonly seen: Seen[] = [];
  /** Told of each Job that may run: new ones, and suspended ones when they are resumed. */
  onJob: (job: StandInObject) => void = () => undefined;
  /** What a pod does when it is told to stop: default, it ends at once. */
  onTerm: (pod: StandInObject) => void = (pod) => this.vanish(pod.metadata.name);

  constructor({ token = "stand-in-token", tls }: StandInOptions = {}) {
    super();
    this.token = token;
    this.#tls = tls;
    this.up();
  }

  get url(): string {
    return `${this.#tls === undefined ? "http" : "https"}://127.0.0.1:${this.port}`;
  }

  port = 0;

  /** Takes its port again after {@link down}, with all that it had. */
  up(): void {
    this.#server = Bun.serve({
      port: this.port,
      hostname: "127.0.0.1",
      idleTimeout: 0,
      ...(this.#tls === undefined ? {} : { tls: this.#tls }),
      fetch: (request) => this.#answer(request),
    });
    this.port = this.#server.port ?? 0;
  }

  /** As a crash: connections are cut. */
  async down(): Promise<void> {
    await this.#server?.stop(true);
    this.#server = undefined;
    this.clearStreams();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }

  /** As a Role without that rule: `create secrets`. */
  forbid(what: string): void {
    this.#forbidden.add(what);
  }

  allow(what: string): void {
    this.#forbidden.delete(what);
  }

  job(): StandInObject {
    const [job] = this.list("jobs");
    if (job === undefined) {
      throw new Error("There is no Job");
    }
    return job;
  }

  /** A pod of the Job, as its controller makes it, before it has a node. */
  makePod(job: StandInObject, name = `${job.metadata.name}-x7k2p`): StandInObject {
    const { template } = job["spec"];
    return this.put("pods", {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name,
        namespace: job.metadata.namespace ?? "",
        labels: {
          ...template.metadata.labels,
          "job-name": job.metadata.name,
          "batch.kubernetes.io/job-name": job.metadata.name,
        },
        annotations: template.metadata.annotations,
        ownerReferences: [
          {
            apiVersion: "batch/v1",
            kind: "Job",
            name: job.metadata.name,
            uid: `${job.metadata.uid}`,
          },
        ],
      },
      spec: template.spec,
      status: { phase: "Pending" },
    });
  }

  /** Its node has started it. */
  runPod(name: string, node = "node-1"): void {
    this.changePod(name, (pod) => {
      pod["spec"] = { ...pod["spec"], nodeName: node };
      pod["status"] = {
        phase: "Running",
        conditions: [{ type: "PodScheduled", status: "True" }],
        containerStatuses: [
          {
            name: "task",
            image: pod["spec"].containers[0].image,
            imageID: `registry.example/task@sha256:${"ab".repeat(32)}`,
            state: { running: { startedAt: now() } },
          },
        ],
      };
    });
  }

  /** Its container waits, with that reason. */
  waitingPod(name: string, reason: string, message: string): void {
    this.changePod(name, (pod) => {
      pod["spec"] = { ...pod["spec"], nodeName: "node-1" };
      pod["status"] = {
        phase: "Pending",
        containerStatuses: [{ name: "task", imageID: "", state: { waiting: { reason, message } } }],
      };
    });
  }

  /** Its container has ended; the Job's controller notices. */
  endPod(
    name: string,
    terminated: Record<string, unknown>,
    status: Record<string, unknown> = {},
  ): void {
    const exitCode = Number(terminated["exitCode"] ?? 0);
    this.changePod(name, (pod) => {
      const [before] = pod["status"].containerStatuses ?? [{ name: "task" }];
      pod["status"] = {
        ...pod["status"],
        phase: exitCode === 0 ? "Succeeded" : "Failed",
        containerStatuses: [
          {
            ...before,
            state: {
              terminated: {
                reason: exitCode === 0 ? "Completed" : "Error",
                startedAt: before.state?.running?.startedAt ?? now(),
                finishedAt: now(),
                ...terminated,
                exitCode,
              },
            },
          },
        ],
        ...status,
      };
    });
    this.endLogs(name);
    const job = this.#jobOf(name);
    if (job !== undefined) {
      this.endJob(
        job.metadata.name,
        exitCode === 0
          ? { type: "Complete", status: "True" }
          : {
              type: "Failed",
              status: "True",
              reason: "BackoffLimitExceeded",
              message: "Job has reached the specified backoff limit",
            },
      );
    }
  }

  endJob(name: string, condition: Record<string, string>): void {
    this.change("jobs", name, (job) => {
      job["status"] = { ...job["status"], conditions: [condition], completionTime: now() };
    });
  }

  changePod(name: string, change: (pod: StandInObject) => void): void {
    this.change("pods", name, change);
  }

  /** The pod is gone, and with its last pod a Job that is being deleted. */
  vanish(name: string): void {
    const job = this.#jobOf(name);
    this.endLogs(name);
    this.remove("pods", name);
    if (job?.metadata.deletionTimestamp !== undefined && this.#podsOf(job).length === 0) {
      this.#removeJob(job);
    }
  }

  /** An event, as controllers and nodes write them. */
  event(name: string, reason: string, message: string): void {
    this.put("events", {
      metadata: { name: `${name}.${crypto.randomUUID()}`, namespace: "noetl" },
      involvedObject: { name },
      reason,
      message,
      lastTimestamp: now(),
    });
  }

  #jobOf(pod: string): StandInObject | undefined {
    const found = this.list("pods").find(({ metadata }) => metadata.name === pod);
    const name = found?.metadata.labels?.["job-name"];
    return this.list("jobs").find(({ metadata }) => metadata.name === name);
  }

  #podsOf(job: StandInObject): StandInObject[] {
    return this.list("pods").filter(
      ({ metadata }) => metadata.labels?.["job-name"] === job.metadata.name,
    );
  }

  #removeJob(job: StandInObject): void {
    this.remove("jobs", job.metadata.name);
    for (const secret of this.list("secrets")) {
      if (secret.metadata.ownerReferences?.[0]?.uid === job.metadata.uid) {
        this.remove("secrets", secret.metadata.name);
      }
    }
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const text = await request.text();
    const body = text === "" ? undefined : (JSON.parse(text) as StandInObject);
    this.seen.push({ method: request.method, path: url.pathname, query: url.searchParams, body });
    if (request.headers.get("authorization") !== `Bearer ${this.token}`) {
      return refuse(401, "Unauthorized", "Unauthorized");
    }
    const fault = this.faults.shift();
    if (fault !== undefined) {
      return refuse(fault, "InternalError", "the stand-in was told to fail");
    }
    if (url.pathname === "/version") {
      return Response.json({ major: "1", minor: "31", gitVersion: "v1.31.2" });
    }
    if (url.pathname.endsWith("/selfsubjectaccessreviews")) {
      return this.#review(body);
    }
    return this.#resource(request.method, url, body);
  }

  #review(body: StandInObject | undefined): Response {
    const { verb, resource, subresource } = body?.["spec"].resourceAttributes ?? {};
    const full = subresource === undefined ? resource : `${resource}/${subresource}`;
    const allowed = !this.#forbidden.has(`${verb} ${full}`);
    return Response.json({ ...body, status: { allowed } }, { status: 201 });
  }

  #resource(method: string, url: URL, body: StandInObject | undefined): Response {
    const found =
      /^\/(?:api\/v1|apis\/batch\/v1)\/namespaces\/([^/]+)\/(\w+)(?:\/([^/]+))?(?:\/(\w+))?$/.exec(
        url.pathname,
      );
    const [, namespace = "", kind = "", name, sub] = found ?? [];
    if (KINDS[kind] === undefined) {
      return refuse(404, "NotFound", "the server could not find the requested resource");
    }
    const isWatch = url.searchParams.get("watch") === "true";
    const verb = verbOf(method, name, isWatch);
    const full = sub === undefined ? kind : `${kind}/${sub}`;
    if (this.#forbidden.has(`${verb} ${full}`)) {
      const message = `${kind} is forbidden: User "system:serviceaccount:${namespace}:noetl" cannot ${verb} resource "${full}" in API group "${kind === "jobs" ? "batch" : ""}" in the namespace "${namespace}"`;
      return refuse(403, "Forbidden", message);
    }
    if (sub === "log") {
      return this.#log(`${name}`, url.searchParams);
    }
    switch (verb) {
      case "list":
        return this.#list(kind, namespace, url.searchParams);
      case "watch":
        return this.watch(kind, namespace, url.searchParams);
      case "create":
        return this.#create(kind, namespace, body);
      default:
        return this.#one(verb, kind, namespace, `${name}`, body);
    }
  }

  #list(kind: string, namespace: string, query: URLSearchParams): Response {
    const field = query.get("fieldSelector")?.split("=")[1];
    const items = this.list(kind).filter(
      (object) =>
        object.metadata.namespace === namespace &&
        matches(object, query.get("labelSelector") ?? "") &&
        (field === undefined || object["involvedObject"]?.name === field),
    );
    const metadata = { resourceVersion: String(this.version) };
    return Response.json({ kind: "List", apiVersion: "v1", metadata, items });
  }

  #create(kind: string, namespace: string, body: StandInObject | undefined): Response {
    const problems = manifestProblems(KINDS[kind] ?? "", body);
    if (body === undefined || problems.length > 0) {
      return refuse(400, "BadRequest", `strict decoding error: ${problems.join(", ")}`);
    }
    const object = { ...body, metadata: { ...body.metadata, namespace } };
    if (this.find(kind, namespace, body.metadata.name) !== undefined) {
      return refuse(409, "AlreadyExists", `${kind} "${body.metadata.name}" already exists`);
    }
    const stored = this.put(kind, object);
    if (kind === "jobs" && stored["spec"].suspend !== true) {
      this.#begin(stored.metadata.name);
    }
    return Response.json(stored, { status: 201 });
  }

  #begin(name: string): void {
    this.change("jobs", name, (stored) => {
      stored["status"] = { startTime: now(), active: 1 };
    });
    const job = this.list("jobs").find(({ metadata }) => metadata.name === name);
    if (job !== undefined) {
      this.onJob(structuredClone(job));
    }
  }

  #one(
    verb: string,
    kind: string,
    namespace: string,
    name: string,
    body: StandInObject | undefined,
  ): Response {
    const object = this.find(kind, namespace, name);
    if (object === undefined) {
      return refuse(404, "NotFound", `${kind} "${name}" not found`);
    }
    if (verb === "patch") {
      return this.#patch(kind, object, body);
    }
    const expected = body?.["preconditions"]?.resourceVersion;
    if (
      verb === "delete" &&
      expected !== undefined &&
      expected !== object.metadata.resourceVersion
    ) {
      return refuse(
        409,
        "Conflict",
        `the ResourceVersion in the precondition (${expected}) differs`,
      );
    }
    if (verb === "delete") {
      this.#delete(kind, object, body ?? { metadata: { name } });
    }
    return Response.json(object);
  }

  #patch(kind: string, object: StandInObject, body: StandInObject | undefined): Response {
    const expected = body?.metadata?.resourceVersion;
    if (expected !== undefined && expected !== object.metadata.resourceVersion) {
      const text = "the object has been modified; please apply your changes to the latest version";
      return refuse(409, "Conflict", `Operation cannot be fulfilled: ${text}`);
    }
    const wasSuspended = object["spec"]?.suspend === true;
    this.change(kind, object.metadata.name, (stored) => merge(stored, body ?? {}));
    if (wasSuspended && object["spec"].suspend !== true) {
      this.#begin(object.metadata.name);
    }
    return Response.json(object);
  }

  #delete(kind: string, object: StandInObject, options: StandInObject): void {
    if (kind === "jobs") {
      const pods = this.#podsOf(object);
      const isForeground = options["propagationPolicy"] === "Foreground";
      if (isForeground && pods.length > 0) {
        this.change("jobs", object.metadata.name, ({ metadata }) => {
          metadata.deletionTimestamp ??= now();
        });
      } else {
        this.#removeJob(object);
      }
      for (const pod of pods) {
        this.#terminate(pod, undefined);
      }
    } else if (kind === "pods") {
      this.#terminate(object, options["gracePeriodSeconds"]);
    } else {
      this.remove(kind, object.metadata.name);
    }
  }

  #terminate(pod: StandInObject, seconds: number | undefined): void {
    const isOver = ["Succeeded", "Failed"].includes(pod["status"]?.phase);
    if (isOver || seconds === 0) {
      this.vanish(pod.metadata.name);
    } else if (pod.metadata.deletionTimestamp === undefined) {
      const graceMs = 1000 * (seconds ?? pod["spec"].terminationGracePeriodSeconds ?? 30);
      this.changePod(pod.metadata.name, ({ metadata }) => {
        metadata.deletionTimestamp = new Date(Date.now() + graceMs).toISOString();
      });
      this.onTerm(pod);
    }
  }

  #log(pod: string, query: URLSearchParams): Response {
    const object = this.list("pods").find(({ metadata }) => metadata.name === pod);
    const state = object?.["status"]?.containerStatuses?.[0]?.state;
    if (object === undefined) {
      return refuse(404, "NotFound", `pods "${pod}" not found`);
    }
    if (state?.running === undefined && state?.terminated === undefined) {
      const text = `container "task" in pod "${pod}" is waiting to start: ContainerCreating`;
      return refuse(400, "BadRequest", text);
    }
    const sinceMs = Date.parse(query.get("sinceTime") ?? "1970-01-01T00:00:00Z");
    const isFollowing = query.get("follow") === "true" && state?.running !== undefined;
    return new Response(this.readLog(pod, sinceMs, isFollowing));
  }
}

function verbOf(method: string, name: string | undefined, isWatch: boolean): string {
  if (method === "GET") {
    const many = isWatch ? "watch" : "list";
    return name === undefined ? many : "get";
  }
  return { POST: "create", PATCH: "patch", DELETE: "delete" }[method] ?? "";
}

function merge(target: StandInObject, patch: object): void {
  for (const [name, value] of Object.entries(patch)) {
    const old: unknown = target[name];
    if (typeof value === "object" && value !== null && !Array.isArray(value) && old) {
      merge(old as StandInObject, value);
    } else {
      target[name] = value;
    }
  }
}

function refuse(code: number, reason: string, message: string): Response {
  const body = {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    reason,
    code,
  };
  return Response.json(body, { status: code });
}
