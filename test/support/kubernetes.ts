/**
 * A STAND-IN for the API server of a Kubernetes cluster, for tests without one. Its answers have the form of
 * recorded ones (v1.31): lists, watches with bookmarks and 410, logs, Status errors. It plays the controllers'
 * part only as far as a test tells it to. It refuses what a real one refuses: unknown fields, names that are
 * taken, tokens that it does not know, watches from before it forgot.
 */
import { manifestProblems } from "./kubernetes-schema.ts";

export interface StandInMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: { uid: string; name: string; kind: string; apiVersion: string }[];
}

/** An object of the cluster; tests look into it as they like. */
export interface StandInObject {
  metadata: StandInMeta;
  // biome-ignore lint/suspicious/noExplicitAny: a manifest, whose fields tests name
  [field: string]: any;
}

interface Change {
  readonly version: number;
  readonly kind: string;
  readonly namespace: string;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: StandInObject;
}

interface Watcher {
  readonly kind: string;
  readonly namespace: string;
  readonly selector: string;
  send(line: unknown): void;
  end(): void;
}

interface LogReader {
  readonly pod: string;
  readonly sinceMs: number;
  send(line: string): void;
  end(): void;
}

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

export class StandInCluster implements AsyncDisposable {
  /** That of the next requests. */
  token: string;
  readonly #tls: StandInOptions["tls"];
  readonly #objects = new Map<string, StandInObject>();
  readonly #changes: Change[] = [];
  readonly #watchers = new Set<Watcher>();
  readonly #logs = new Map<string, string[]>();
  readonly #readers = new Set<LogReader>();
  readonly #forbidden = new Set<string>();
  #server: ReturnType<typeof Bun.serve> | undefined;
  #version = 1000;
  #oldest = 0;
  /** Answers to the next requests, in place of their own: `503`. */
  readonly faults: number[] = [];
  /** All requests so far. */
  readonly seen: Seen[] = [];
  /** Told of each Job that may run: new ones, and suspended ones when they are resumed. */
  onJob: (job: StandInObject) => void = () => undefined;
  /** What a pod does when it is told to stop: default, it ends at once. */
  onTerm: (pod: StandInObject) => void = (pod) => this.vanish(pod.metadata.name);

  constructor({ token = "stand-in-token", tls }: StandInOptions = {}) {
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
    this.#watchers.clear();
    this.#readers.clear();
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

  /** Ends all watches, which then cannot go on where they were: 410. */
  forget(): void {
    this.#oldest = ++this.#version;
    this.#changes.length = 0;
    this.cutWatches();
  }

  /** Ends all watches, as an API server does every few minutes. */
  cutWatches(): void {
    for (const watcher of [...this.#watchers]) {
      watcher.end();
    }
  }

  /** Cuts the streams of logs in the middle. */
  cutLogs(): void {
    for (const reader of [...this.#readers]) {
      reader.end();
    }
  }

  get watchCount(): number {
    return this.#watchers.size;
  }

  get logReaderCount(): number {
    return this.#readers.size;
  }

  list(kind: string): StandInObject[] {
    return [...this.#objects]
      .filter(([path]) => path.startsWith(`${kind}/`))
      .map(([, object]) => object);
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
    this.#endLogs(name);
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
    this.#change("jobs", name, (job) => {
      job["status"] = { ...job["status"], conditions: [condition], completionTime: now() };
    });
  }

  changePod(name: string, change: (pod: StandInObject) => void): void {
    this.#change("pods", name, change);
  }

  /** The pod is gone, and with its last pod a Job that is being deleted. */
  vanish(name: string): void {
    const job = this.#jobOf(name);
    this.#endLogs(name);
    this.remove("pods", name);
    if (job?.metadata.deletionTimestamp !== undefined && this.#podsOf(job).length === 0) {
      this.#removeJob(job);
    }
  }

  /** A line of the container, now or at that time. */
  say(pod: string, text: string, time = nanoTime()): void {
    const line = `${time} ${text}\n`;
    this.#logs.set(pod, [...(this.#logs.get(pod) ?? []), line]);
    for (const reader of this.#readers) {
      if (reader.pod === pod) {
        reader.send(line);
      }
    }
  }

  /** An event, as controllers and nodes write them. */
  event(name: string, reason: string, message: string): void {
    this.put("events", {
      metadata: { name: `${name}.${++this.#version}`, namespace: "noetl" },
      involvedObject: { name },
      reason,
      message,
      lastTimestamp: now(),
    });
  }

  put(kind: string, object: StandInObject): StandInObject {
    const stored = structuredClone(object);
    stored.metadata.uid ??= crypto.randomUUID();
    stored.metadata.creationTimestamp ??= now();
    this.#objects.set(key(kind, stored), stored);
    this.#tell("ADDED", kind, stored);
    return structuredClone(stored);
  }

  remove(kind: string, name: string): void {
    const object = this.list(kind).find(({ metadata }) => metadata.name === name);
    if (object !== undefined) {
      this.#objects.delete(key(kind, object));
      this.#tell("DELETED", kind, object);
    }
  }

  #change(kind: string, name: string, change: (object: StandInObject) => void): void {
    const object = this.list(kind).find(({ metadata }) => metadata.name === name);
    if (object === undefined) {
      throw new Error(`The stand-in has no ${kind} ${name}`);
    }
    change(object);
    this.#tell("MODIFIED", kind, object);
  }

  #tell(type: Change["type"], kind: string, object: StandInObject): void {
    object.metadata.resourceVersion = String(++this.#version);
    const namespace = object.metadata.namespace ?? "";
    const change = {
      version: this.#version,
      kind,
      namespace,
      type,
      object: structuredClone(object),
    };
    this.#changes.push(change);
    for (const watcher of this.#watchers) {
      offer(watcher, change);
    }
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

  #endLogs(pod: string): void {
    for (const reader of [...this.#readers].filter((one) => one.pod === pod)) {
      reader.end();
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
        return this.#watch(kind, namespace, url.searchParams);
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
    const metadata = { resourceVersion: String(this.#version) };
    return Response.json({ kind: "List", apiVersion: "v1", metadata, items });
  }

  #watch(kind: string, namespace: string, query: URLSearchParams): Response {
    const from = Number(query.get("resourceVersion"));
    const encoder = new TextEncoder();
    let watcher: Watcher | undefined;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        const send = (line: unknown): void =>
          controller.enqueue(encoder.encode(`${JSON.stringify(line)}\n`));
        const end = (): void => {
          this.#watchers.delete(one);
          controller.close();
        };
        const selector = query.get("labelSelector") ?? "";
        const one: Watcher = { kind, namespace, selector, send, end };
        watcher = one;
        if (from < this.#oldest) {
          send({ type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired" } });
          controller.close();
          return;
        }
        for (const change of this.#changes.filter(({ version }) => version > from)) {
          offer(one, change);
        }
        const metadata = { resourceVersion: String(this.#version) };
        send({ type: "BOOKMARK", object: { kind: "Bookmark", metadata } });
        this.#watchers.add(one);
      },
      cancel: () => {
        if (watcher !== undefined) {
          this.#watchers.delete(watcher);
        }
      },
    });
    return new Response(body, { headers: { "content-type": "application/json" } });
  }

  #create(kind: string, namespace: string, body: StandInObject | undefined): Response {
    const problems = manifestProblems(KINDS[kind] ?? "", body);
    if (body === undefined || problems.length > 0) {
      return refuse(400, "BadRequest", `strict decoding error: ${problems.join(", ")}`);
    }
    const object = { ...body, metadata: { ...body.metadata, namespace } };
    if (this.#objects.has(key(kind, object))) {
      return refuse(409, "AlreadyExists", `${kind} "${body.metadata.name}" already exists`);
    }
    const stored = this.put(kind, object);
    if (kind === "jobs" && stored["spec"].suspend !== true) {
      this.#begin(stored.metadata.name);
    }
    return Response.json(stored, { status: 201 });
  }

  #begin(name: string): void {
    this.#change("jobs", name, (stored) => {
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
    const object = this.#objects.get(`${kind}/${namespace}/${name}`);
    if (object === undefined) {
      return refuse(404, "NotFound", `${kind} "${name}" not found`);
    }
    if (verb === "patch") {
      return this.#patch(kind, object, body);
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
    this.#change(kind, object.metadata.name, (stored) => merge(stored, body ?? {}));
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
        this.#change("jobs", object.metadata.name, ({ metadata }) => {
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
    const known = (this.#logs.get(pod) ?? []).filter((line) => lineMs(line) >= sinceMs);
    const isFollowing = query.get("follow") === "true" && state?.running !== undefined;
    return new Response(isFollowing ? this.#follow(pod, sinceMs, known) : known.join(""));
  }

  #follow(pod: string, sinceMs: number, known: readonly string[]): ReadableStream<Uint8Array> {
    const encoder = new TextEncoder();
    let reader: LogReader | undefined;
    return new ReadableStream({
      start: (controller) => {
        const send = (line: string): void => controller.enqueue(encoder.encode(line));
        const end = (): void => {
          this.#readers.delete(one);
          controller.close();
        };
        const one: LogReader = { pod, sinceMs, send, end };
        reader = one;
        for (const line of known) {
          send(line);
        }
        this.#readers.add(one);
      },
      cancel: () => {
        if (reader !== undefined) {
          this.#readers.delete(reader);
        }
      },
    });
  }
}

function offer(watcher: Watcher, change: Change): void {
  const isIts = watcher.kind === change.kind && watcher.namespace === change.namespace;
  if (isIts && matches(change.object, watcher.selector)) {
    watcher.send({ type: change.type, object: change.object });
  }
}

function matches({ metadata }: StandInObject, selector: string): boolean {
  return selector
    .split(",")
    .filter((part) => part !== "")
    .every((part) => {
      const [name = "", value] = part.split("=");
      return metadata.labels?.[name] === value;
    });
}

function key(kind: string, { metadata }: StandInObject): string {
  return `${kind}/${metadata.namespace ?? ""}/${metadata.name}`;
}

function verbOf(method: string, name: string | undefined, isWatch: boolean): string {
  if (method === "GET") {
    const many = isWatch ? "watch" : "list";
    return name === undefined ? many : "get";
  }
  return { POST: "create", PATCH: "patch", DELETE: "delete" }[method] ?? "";
}

/** A merge patch of JSON. */
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

/** Errors of the API are objects of kind Status. */
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

/** The API writes whole seconds. */
function now(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}

let lineCount = 0;

/** Logs have nanoseconds; each line another. */
function nanoTime(): string {
  const fraction = String(++lineCount % 1_000_000).padStart(6, "0");
  return new Date().toISOString().replace("Z", `${fraction}Z`);
}

function lineMs(line: string): number {
  return Date.parse(line.slice(0, line.indexOf(" ")));
}
