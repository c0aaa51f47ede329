/** Stored results: loaded when a template or a tool looks inside, kept while there is room. */
import { retry } from "../core/backoff.ts";
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { decodeResult } from "../engine/result.ts";
import type { WorkerClient } from "../rpc/client.ts";
import { splitRef, walk } from "../template/ref.ts";
import type { Resolved } from "../template/scope.ts";
import { isResultRef, LOOK_ALIKE, RefNeededError } from "../template/scope.ts";
import type { ResultQuery } from "../tools/tool.ts";
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
   * @param reader the execution in whose data the reference was found; none: the playbook names it.
   * @throws AppError `not_found` when the result is gone, RESULT_FOREIGN when it is not for the reader;
   *   retries while servers are away.
   */
  async load(ref: string, signal: AbortSignal, reader?: ExecutionId): Promise<Json> {
    const key = keyOf(ref, reader);
    const known = this.#loaded.get(key);
    if (known !== undefined) {
      this.#loaded.delete(key);
      this.#loaded.set(key, known);
      return known.value;
    }
    const query = { address: ref, ...(reader === undefined ? {} : { reader }) };
    const loaded = await retry(() => this.#read(query), resultRetry(signal));
    this.#keep(key, loaded);
    return loaded.value;
  }

  async #read(query: ResultQuery): Promise<Loaded> {
    const parts: Uint8Array[] = [];
    const info = await this.#client.readResult(query, (bytes) => parts.push(bytes));
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

/** What one execution was given of another's is not at hand for a third: the server decides anew. */
function keyOf(ref: string, reader: ExecutionId | undefined): string {
  const isOwn = reader === undefined || ref.startsWith(`noetl://execution/${reader}/`);
  return isOwn ? ref : `${reader} ${ref}`;
}

/** Whose data has the references, and what tells to stop. */
export interface RefReader {
  readonly executionId: ExecutionId;
  readonly signal: AbortSignal;
}

/** The stored results that one command needs, for as long as it runs. */
export class CommandRefs {
  readonly #store: RefStore;
  readonly #reader: RefReader;
  readonly #resolved = new Map<string, Json | typeof LOOK_ALIKE>();

  constructor(store: RefStore, reader: RefReader) {
    this.#store = store;
    this.#reader = reader;
  }

  get resolved(): Resolved {
    return this.#resolved;
  }

  /** The value of a reference that the playbook names. */
  async load(ref: string): Promise<Json> {
    const { base, pointer } = splitRef(ref);
    return walk(await this.#store.load(base, this.#reader.signal), pointer) ?? null;
  }

  /** The value of a reference that was found in data. */
  async #loadFound(ref: string): Promise<Json | typeof LOOK_ALIKE> {
    const { base, pointer } = splitRef(ref);
    const whole = this.#resolved.get(base) ?? (await this.#loadWhole(base));
    this.#resolved.set(base, whole);
    return whole === LOOK_ALIKE ? whole : (walk(whole, pointer) ?? null);
  }

  async #loadWhole(base: string): Promise<Json | typeof LOOK_ALIKE> {
    const { signal, executionId } = this.#reader;
    try {
      return await this.#store.load(base, signal, executionId);
    } catch (error) {
      if (error instanceof AppError && error.code === "RESULT_FOREIGN") {
        return LOOK_ALIKE;
      }
      throw error;
    }
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
        await this.#loadFound(error.ref);
      }
    }
  }

  /**
   * The same value with what its references stand for in their place, at any depth. Data that only
   * looks like a reference stays as it is.
   *
   * @param present how a loaded value looks from outside.
   */
  async expand(value: Json, present: (ref: string, loaded: Json) => Json): Promise<Json> {
    if (isResultRef(value)) {
      const loaded = await this.#loadFound(value.$ref);
      return loaded === LOOK_ALIKE ? value : present(value.$ref, loaded);
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
