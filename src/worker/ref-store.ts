/** Stored results: loaded when a template or a tool looks inside, kept while there is room. */
import { retry } from "../core/backoff.ts";
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { decodeResult } from "../engine/result.ts";
import type { WorkerClient } from "../rpc/client.ts";
import { splitRef, walk } from "../template/ref.ts";
import { isResultRef, RefNeededError } from "../template/scope.ts";
import { resultRetry } from "./result-retry.ts";

interface Loaded {
  readonly value: Json;
  readonly byteCount: number;
}

/** All commands of a worker share one: what one has loaded is at hand for the next. */
export class RefStore {
  readonly #client: Pick<WorkerClient, "readResult">;
  readonly #maxBytes: number;
  /** Least recently used first. */
  readonly #loaded = new Map<string, Loaded>();
  #byteCount = 0;

  constructor(client: Pick<WorkerClient, "readResult">, maxBytes: number) {
    this.#client = client;
    this.#maxBytes = maxBytes;
  }

  /**
   * A whole value, by its reference, canonical URI or URN.
   *
   * @throws AppError `not_found` when the result is gone; retries while servers are away.
   */
  async load(ref: string, signal: AbortSignal): Promise<Json> {
    const known = this.#loaded.get(ref);
    if (known !== undefined) {
      this.#loaded.delete(ref);
      this.#loaded.set(ref, known);
      return known.value;
    }
    const loaded = await retry(() => this.#read(ref), resultRetry(signal));
    this.#keep(ref, loaded);
    return loaded.value;
  }

  async #read(address: string): Promise<Loaded> {
    const parts: Uint8Array[] = [];
    const info = await this.#client.readResult({ address }, (bytes) => parts.push(bytes));
    const value = decodeResult(Buffer.concat(parts), info.contentType);
    return { value, byteCount: info.size };
  }

  #keep(ref: string, loaded: Loaded): void {
    if (this.#loaded.has(ref) || loaded.byteCount > this.#maxBytes) {
      return;
    }
    this.#loaded.set(ref, loaded);
    this.#byteCount += loaded.byteCount;
    for (const [oldest, { byteCount }] of this.#loaded) {
      if (this.#byteCount <= this.#maxBytes) {
        return;
      }
      this.#loaded.delete(oldest);
      this.#byteCount -= byteCount;
    }
  }
}

/** The stored results that one command needs, for as long as it runs. */
export class CommandRefs {
  readonly #store: RefStore;
  readonly #signal: AbortSignal;
  readonly #resolved = new Map<string, Json>();

  constructor(store: RefStore, signal: AbortSignal) {
    this.#store = store;
    this.#signal = signal;
  }

  get resolved(): ReadonlyMap<string, Json> {
    return this.#resolved;
  }

  async load(ref: string): Promise<Json> {
    const { base, pointer } = splitRef(ref);
    const whole = this.#resolved.get(base) ?? (await this.#store.load(base, this.#signal));
    this.#resolved.set(base, whole);
    return walk(whole, pointer) ?? null;
  }

  /** Repeats a pure computation until all that it looks into is loaded. */
  async during<T>(compute: () => T): Promise<T> {
    for (;;) {
      try {
        return compute();
      } catch (error) {
        if (!(error instanceof RefNeededError)) {
          throw error;
        }
        await this.load(error.ref);
      }
    }
  }

  /**
   * The same value with what its references stand for in their place, at any depth.
   *
   * @param present how a loaded value looks from outside.
   */
  async expand(value: Json, present: (ref: string, loaded: Json) => Json): Promise<Json> {
    if (isResultRef(value)) {
      return present(value.$ref, await this.load(value.$ref));
    }
    if (!hasRef(value)) {
      return value;
    }
    if (Array.isArray(value)) {
      return await Promise.all(value.map((item: Json) => this.expand(item, present)));
    }
    const entries = Object.entries(value ?? {}).map(
      async ([key, inner]): Promise<[string, Json]> => [key, await this.expand(inner, present)],
    );
    return Object.fromEntries(await Promise.all(entries));
  }
}

function hasRef(value: Json): boolean {
  if (Array.isArray(value)) {
    return value.some(hasRef);
  }
  return isJsonObject(value) && (isResultRef(value) || Object.values(value).some(hasRef));
}
