/**
 * Keeps somebody told of one kind of object in one namespace: lists once, then watches from there. A watch that
 * breaks goes on where it was; one that the API has forgotten (410) starts with a new list.
 */
import { backoffMs } from "../../core/backoff.ts";
import { sleep } from "../../core/clock.ts";
import { errorMessage } from "../../core/errors.ts";
import type { ApiRequest, KubernetesApi } from "./api.ts";
import { KubernetesApiError } from "./api.ts";
import type { ObjectList, ObjectMeta } from "./object.ts";

interface Watched {
  readonly metadata: ObjectMeta;
}

export interface ReflectorOptions<T extends Watched> {
  readonly api: KubernetesApi;
  readonly resource: Pick<ApiRequest, "group" | "resource" | "namespace">;
  readonly selector: string;
  /** All there are; at the start and whenever changes may have been missed. */
  readonly onList: (items: readonly T[]) => void;
  readonly onChange: (object: T, isDeleted: boolean) => void;
  /** Before each wait for a new try; undefined when it goes on. */
  readonly onTrouble: (error: KubernetesApiError | undefined) => void;
}

interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: { readonly metadata?: ObjectMeta; readonly code?: number };
}

const PAGE_ITEMS = 500;
/** The API ends a watch then; a new one goes on where it was. */
const WATCH_SECONDS = 240;
/** Without a word, bookmarks included: the connection is dead, though nobody has closed it. */
const SILENT_MS = (WATCH_SECONDS + 30) * 1000;
const BACKOFF = { minMs: 200, maxMs: 10_000 };

export class Reflector<T extends Watched> {
  readonly #options: ReflectorOptions<T>;
  /** Of the newest object that was told. */
  #version: string | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
  }

  /** Until the signal is aborted; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    let troubles = 0;
    while (!signal.aborted) {
      const isDone = await this.#round(signal);
      troubles = isDone ? 0 : troubles + 1;
      if (troubles > 0) {
        await sleep(backoffMs(troubles, BACKOFF), signal);
      }
    }
  }

  /** One list or one watch; false when it brought nothing, so that the next one waits. */
  async #round(signal: AbortSignal): Promise<boolean> {
    try {
      if (this.#version === undefined) {
        this.#version = await this.#list(signal);
        this.#options.onTrouble(undefined);
        return true;
      }
      return await this.#watch(signal);
    } catch (error) {
      if (!signal.aborted) {
        this.#onError(error);
      }
      return false;
    }
  }

  #onError(error: unknown): void {
    const known =
      error instanceof KubernetesApiError
        ? error
        : new KubernetesApiError(WATCH, 0, "Unknown", errorMessage(error));
    if (known.status === 410) {
      this.#version = undefined;
    } else {
      this.#options.onTrouble(known);
    }
  }

  async #list(signal: AbortSignal): Promise<string> {
    const items: T[] = [];
    let page: ObjectList<T>;
    let next: string | undefined;
    do {
      page = (await this.#options.api.once(this.#request("list", next), signal)) as ObjectList<T>;
      items.push(...page.items);
      next = page.metadata.continue;
    } while (next !== undefined && next !== "");
    this.#options.onList(items);
    return page.metadata.resourceVersion ?? "0";
  }

  #request(verb: "list" | "watch", next?: string): ApiRequest {
    const { resource, selector } = this.#options;
    const watching = {
      watch: true,
      allowWatchBookmarks: true,
      timeoutSeconds: WATCH_SECONDS,
      resourceVersion: this.#version ?? "",
    };
    const listing = { limit: PAGE_ITEMS, ...(next === undefined ? {} : { continue: next }) };
    return {
      ...resource,
      verb,
      query: { labelSelector: selector, ...(verb === "watch" ? watching : listing) },
    };
  }

  async #watch(signal: AbortSignal): Promise<boolean> {
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(silent()), SILENT_MS);
    const limit = AbortSignal.any([signal, silence.signal]);
    let isFruitful = false;
    try {
      for await (const line of this.#options.api.stream(this.#request("watch"), limit)) {
        timer.refresh();
        isFruitful = true;
        this.#take(JSON.parse(line) as WatchEvent);
      }
      return isFruitful;
    } catch (error) {
      throw error instanceof SyntaxError ? broken(error) : error;
    } finally {
      clearTimeout(timer);
    }
  }

  #take({ type, object }: WatchEvent): void {
    if (type === "ERROR") {
      throw new KubernetesApiError(WATCH, object.code ?? 500, "Watch", "The watch broke off");
    }
    this.#options.onTrouble(undefined);
    this.#version = object.metadata?.resourceVersion ?? this.#version;
    if (type !== "BOOKMARK") {
      this.#options.onChange(object as T, type === "DELETED");
    }
  }
}

const WATCH: ApiRequest = { verb: "watch", group: "", resource: "pods" };

function silent(): KubernetesApiError {
  return new KubernetesApiError(WATCH, 0, "Silent", "The watch was silent for too long");
}

/** A line that was cut off with its connection. */
function broken(cause: SyntaxError): KubernetesApiError {
  return new KubernetesApiError(WATCH, 0, "Broken", `The watch broke off: ${cause.message}`);
}
