/**
 * What the STAND-IN of a cluster holds (see kubernetes.ts): objects with their versions, watches of them, and the
 * output of containers.
 */
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

export class StandInObjects {
  readonly #objects = new Map<string, StandInObject>();
  readonly #changes: Change[] = [];
  readonly #watchers = new Set<Watcher>();
  readonly #logs = new Map<string, string[]>();
  readonly #readers = new Set<LogReader>();
  #version = 1000;
  #oldest = 0;

  /** Of the newest change. */
  get version(): number {
    return this.#version;
  }

  find(kind: string, namespace: string, name: string): StandInObject | undefined {
    return this.#objects.get(`${kind}/${namespace}/${name}`);
  }

  list(kind: string): StandInObject[] {
    return [...this.#objects]
      .filter(([path]) => path.startsWith(`${kind}/`))
      .map(([, object]) => object);
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

  change(kind: string, name: string, change: (object: StandInObject) => void): void {
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

  endLogs(pod: string): void {
    for (const reader of [...this.#readers].filter((one) => one.pod === pod)) {
      reader.end();
    }
  }

  watch(kind: string, namespace: string, query: URLSearchParams): Response {
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

  readLog(pod: string, sinceMs: number, isFollowing: boolean): ReadableStream<Uint8Array> {
    const known = (this.#logs.get(pod) ?? []).filter((line) => lineMs(line) >= sinceMs);
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
        if (isFollowing) {
          this.#readers.add(one);
        } else {
          controller.close();
        }
      },
      cancel: () => {
        if (reader !== undefined) {
          this.#readers.delete(reader);
        }
      },
    });
  }

  /** All connections were cut. */
  clearStreams(): void {
    this.#watchers.clear();
    this.#readers.clear();
  }
}

function offer(watcher: Watcher, change: Change): void {
  const isIts = watcher.kind === change.kind && watcher.namespace === change.namespace;
  if (isIts && matches(change.object, watcher.selector)) {
    watcher.send({ type: change.type, object: change.object });
  }
}

export function matches({ metadata }: StandInObject, selector: string): boolean {
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

export function now(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}

let lineCount = 0;

function nanoTime(): string {
  const fraction = String(++lineCount % 1_000_000).padStart(6, "0");
  return new Date().toISOString().replace("Z", `${fraction}Z`);
}

function lineMs(line: string): number {
  return Date.parse(line.slice(0, line.indexOf(" ")));
}
