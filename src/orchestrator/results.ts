/**
 * Values that are stored apart: over the inline limit, or put by name as artifacts.
 *
 * Put: bytes come in pieces and go out in frames as they come; hash and size are known, and compared
 * with what was announced, at the end; the row that makes the value readable is written last. Until
 * then its bytes are listed as loose, and whatever is loose for too long is removed: a crash at any
 * moment leaves nothing. Open: frames come out one by one. No server ever holds a whole value, but for
 * the small ones that its own templates must look into ({@link Results.load}).
 */
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import type { LargePart } from "../engine/offload.ts";
import { withOutline } from "../engine/outline.ts";
import type { NewResult, ResultAddress, ResultInfo } from "../engine/result.ts";
import { contentRef, decodeResult, JSON_TYPE, parseAddress } from "../engine/result.ts";
import { isList } from "../engine/value.ts";
import { isOfFamily, rootOf } from "../store/execution.ts";
import type { Store } from "../store/pool.ts";
import type { ResultBody, ResultKey, ResultName, ResultRow } from "../store/result.ts";
import {
  bindResult,
  findResult,
  hasResultBody,
  lapsed,
  listResults,
  markLoose,
  saveResultName,
  saveSmallResult,
} from "../store/result.ts";
import { removeResult } from "../store/result-removal.ts";
import type { BodyKey, ResultStore, StoreKind } from "../store/result-store.ts";
import { databaseError } from "../store/sqlstate.ts";
import { splitRef, walk } from "../template/ref.ts";
import type { ResultRef } from "../template/scope.ts";
import { isResultRef } from "../template/scope.ts";
import type { OrchestratorMetrics } from "./options.ts";
import type { ByteRange, ByteSource } from "./result-frames.ts";
import {
  checkAnnounced,
  FRAME_BYTES,
  inFrames,
  Meter,
  packFrame,
  typeOfBytes,
  unpackFrames,
} from "./result-frames.ts";
import type { ResultLimits } from "./result-limits.ts";
import { ResultQuota } from "./result-limits.ts";

export interface ResultOptions {
  readonly store: Store;
  /** Where new values go. */
  readonly target: ResultStore;
  /** Where others may lie. */
  readonly sources: Readonly<Partial<Record<StoreKind, ResultStore>>>;
  readonly limits: ResultLimits;
  readonly metrics: Pick<
    OrchestratorMetrics,
    "resultPutBytes" | "resultPutSeconds" | "resultPuts" | "resultReads"
  >;
  readonly newId: () => Promise<string>;
  /** Values of steps as the log has them, for canonical URIs. Undefined: nothing is there. */
  readonly stepValue: (
    executionId: ExecutionId,
    step: string,
    row: number | undefined,
  ) => Promise<Json | undefined>;
}

/** A value that can be read, any part of it any number of times. */
export interface OpenResult {
  readonly info: ResultInfo;
  /** Pieces of at most 1 MiB; of the whole value when no range is given. */
  read(range?: ByteRange): AsyncIterable<Uint8Array>;
}

export interface ResultPage {
  readonly limit: number;
  readonly offset: number;
  readonly name?: string | undefined;
}

/** Loose bytes are removed when nobody has touched them for so long. */
const LOOSE_MS = 600_000;
const TOUCH_INTERVAL_MS = 60_000;
const NAME_CHARS_MAX = 200;
const OUTLINE_BYTES = 2048;
const PIECE_CHARS = 256 * 1024;

export class Results {
  readonly #options: ResultOptions;
  readonly #quota: ResultQuota;

  constructor(options: ResultOptions) {
    this.#options = options;
    this.#quota = new ResultQuota(options.store.durable, options.limits);
  }

  /**
   * Stores a value; durable when it resolves. Idempotent by content.
   *
   * @throws AppError invalid RESULT_TOO_LARGE, RESULT_QUOTA, RESULT_CORRUPT, RESULT_NAME_INVALID;
   *   unavailable RESULT_STORE_UNAVAILABLE, RESULT_UPLOAD_LAPSED, DATABASE_UNAVAILABLE.
   */
  async put(result: NewResult, source: ByteSource): Promise<ResultInfo> {
    const { resultPuts, resultPutSeconds, resultPutBytes } = this.#options.metrics;
    const startMs = performance.now();
    try {
      const info = await this.#put(result, source);
      resultPuts.inc("ok");
      resultPutBytes.add(info.size);
      resultPutSeconds.observe((performance.now() - startMs) / 1000);
      return info;
    } catch (error) {
      resultPuts.inc("error");
      throw databaseError(error);
    }
  }

  async #put(result: NewResult, source: ByteSource): Promise<ResultInfo> {
    checkName(result.name);
    this.#quota.checkSize(result.name, result.size ?? 0);
    const executionId = await this.#ownerOf(result);
    const key = await this.#store({ ...result, executionId }, source);
    const row = await findResult(this.#options.store.durable, key);
    if (row === undefined) {
      throw new AppError("conflict", "RESULT_EXPIRED", `Value ${result.name} expired at once`);
    }
    return infoOf(row);
  }

  /**
   * Finds a value by its reference, its canonical URI, or the same as a URN.
   *
   * @param reader the execution in whose data the reference was found; none: somebody named it.
   * @throws AppError invalid REF_INVALID; not_found RESULT_NOT_FOUND; forbidden RESULT_FOREIGN: data
   *   from outside has made up a reference to what the reader and its family have not stored.
   */
  async open(text: string, reader?: ExecutionId): Promise<OpenResult> {
    if (reader !== undefined && !(await this.#mayRead(parseAddress(text), reader))) {
      const message = `Execution ${reader} and its family have not stored ${text.slice(0, 200)}`;
      throw new AppError("forbidden", "RESULT_FOREIGN", message);
    }
    return await this.#counted(() => this.#open(toAddress(text), text));
  }

  /** What is permanent is for everybody who has the reference, and the content's hash with it. */
  async #mayRead(address: ResultAddress | undefined, reader: ExecutionId): Promise<boolean> {
    if (address?.kind !== "content" || address.executionId === reader) {
      return address?.kind === "content";
    }
    const { durable } = this.#options.store;
    try {
      return (
        (await isOfFamily(durable, reader, address.executionId)) ||
        (await findResult(durable, address))?.scope === "permanent"
      );
    } catch (error) {
      throw databaseError(error);
    }
  }

  /** The newest value of that name. @throws AppError not_found RESULT_NOT_FOUND */
  async openNamed(executionId: ExecutionId, name: string): Promise<OpenResult> {
    return await this.#counted(() => this.#openNamed(executionId, name));
  }

  async #openNamed(executionId: ExecutionId, name: string): Promise<OpenResult> {
    const row =
      (await findResult(this.#options.store.durable, { executionId, name })) ??
      (await this.#findInRoot(executionId, name));
    if (row === undefined) {
      throw missing(`called ${name} in execution ${executionId}`);
    }
    return this.#opened(row);
  }

  async #counted(open: () => Promise<OpenResult>): Promise<OpenResult> {
    const { resultReads } = this.#options.metrics;
    try {
      const opened = await open();
      resultReads.inc("ok");
      return opened;
    } catch (error) {
      resultReads.inc("error");
      throw databaseError(error);
    }
  }

  async list(executionId: ExecutionId, page: ResultPage): Promise<readonly ResultInfo[]> {
    return (await listResults(this.#options.store.durable, executionId, page)).map(infoOf);
  }

  /** False if there was none. @throws AppError invalid REF_INVALID */
  async remove(text: string): Promise<boolean> {
    const address = toAddress(text);
    if (address.kind !== "content") {
      const message = `Only a reference to stored content can be deleted, not ${text}`;
      throw new AppError("invalid", "REF_INVALID", message);
    }
    const removed = await removeResult(this.#options.store.durable, address);
    this.#quota.forget(address.executionId);
    return removed > 0;
  }

  /**
   * A stored value as JSON, for the server's own templates.
   *
   * @throws AppError invalid RESULT_TOO_LARGE_HERE over the limit for that; as {@link open}.
   */
  async load(
    text: string,
    reader?: ExecutionId,
  ): Promise<{ readonly value: Json; readonly size: number }> {
    const { base, pointer } = splitRef(text);
    const { info, read } = await this.open(base, reader);
    this.#quota.checkTemplateSize(text, info.size);
    const value = await readJson(read(), info.contentType);
    return { value: walk(value, pointer) ?? null, size: info.size };
  }

  /** Stores a part of an execution's state, piece by piece, with an outline. */
  async storePart(executionId: ExecutionId, { name, value }: LargePart): Promise<ResultRef> {
    const title = name.slice(0, NAME_CHARS_MAX);
    const { ref } = await this.put({ executionId, name: title }, jsonPieces(value));
    return withOutline(value, { ref, reads: [], select: [], spareBytes: OUTLINE_BYTES });
  }

  /** Values of scope `workflow` belong to the outermost execution. */
  async #ownerOf({ executionId, scope }: NewResult): Promise<ExecutionId> {
    return scope === "workflow"
      ? ((await rootOf(this.#options.store.durable, executionId)) ?? executionId)
      : executionId;
  }

  async #findInRoot(executionId: ExecutionId, name: string): Promise<ResultRow | undefined> {
    const { durable } = this.#options.store;
    const root = await rootOf(durable, executionId);
    return root === undefined || root === executionId
      ? undefined
      : await findResult(durable, { executionId: root, name });
  }

  async #store(result: NewResult, source: ByteSource): Promise<ResultKey> {
    const { durable } = this.#options.store;
    const { executionId, name, sha256 } = result;
    if (sha256 !== undefined && (await hasResultBody(durable, { executionId, sha256 }))) {
      if (await saveResultName(durable, nameOf(result, sha256))) {
        return { executionId, sha256, name };
      }
    }
    await this.#quota.checkTotal(executionId, result.size ?? 0);
    const frames = inFrames(source, result.size);
    const first = await frames.next();
    const second = first.done === true ? first : await frames.next();
    const head = first.done === true ? new Uint8Array(0) : first.value;
    const isSmall = second.done === true && this.#options.target.kind === "postgres";
    const stored = isSmall
      ? await this.#storeSmall(result, head)
      : await this.#storeLarge(result, join(head, second, frames));
    this.#quota.add(executionId, stored.size);
    return { executionId, sha256: stored.sha256, name };
  }

  async #storeSmall(result: NewResult, bytes: Uint8Array<ArrayBuffer>) {
    const { store, newId } = this.#options;
    const meter = this.#meter(result);
    meter.add(bytes);
    const found = { sha256: meter.digest(), size: bytes.length };
    checkAnnounced(result, found);
    const frame = await packFrame(bytes);
    const body: ResultBody = {
      ...{ executionId: result.executionId, bodyId: await newId(), store: "postgres" },
      ...{ size: bytes.length, frames: [frame.length] },
      type: typeOfBytes(result.contentType ?? JSON_TYPE, bytes),
    };
    await saveSmallResult(store.durable, nameOf(result, found.sha256), body, frame);
    return found;
  }

  async #storeLarge(result: NewResult, source: AsyncIterable<Uint8Array<ArrayBuffer>>) {
    const { store, target, newId } = this.#options;
    const key = { executionId: result.executionId, bodyId: await newId() };
    const loose = { ...key, store: target.kind };
    await markLoose(store.quick, loose, LOOSE_MS);
    const meter = this.#meter(result);
    const lengths: number[] = [];
    let type: ResultRef["type"] | undefined;
    const writer = target.createBody(key);
    let touchedMs = performance.now();
    try {
      for await (const frame of source) {
        meter.add(frame);
        type ??= typeOfBytes(result.contentType ?? JSON_TYPE, frame);
        const packed = await packFrame(frame);
        lengths.push(packed.length);
        await writer.write(packed);
        if (performance.now() - touchedMs > TOUCH_INTERVAL_MS) {
          touchedMs = performance.now();
          await this.#touch(loose);
        }
      }
      const found = { sha256: meter.digest(), size: meter.byteCount };
      checkAnnounced(result, found);
      await this.#quota.checkTotal(result.executionId, result.size === undefined ? found.size : 0);
      await writer.end();
      const body = { ...loose, type: type ?? "binary", size: found.size, frames: lengths };
      await bindResult(store.durable, nameOf(result, found.sha256), body);
      return found;
    } catch (error) {
      await writer.abort();
      await this.#discard(loose);
      throw error;
    }
  }

  async #touch(loose: BodyKey & { readonly store: StoreKind }): Promise<void> {
    if (!(await markLoose(this.#options.store.quick, loose, LOOSE_MS))) {
      throw lapsed();
    }
  }

  /** The sweep removes the bytes at once; if even that cannot be said, later. */
  async #discard(loose: BodyKey & { readonly store: StoreKind }): Promise<void> {
    try {
      await markLoose(this.#options.store.quick, loose, 0);
    } catch {
      // The database is away: the bytes stay listed, and lapse.
    }
  }

  #meter({ name }: NewResult): Meter {
    return new Meter((bytes) => this.#quota.checkSize(name, bytes));
  }

  async #open(address: ResultAddress, text: string): Promise<OpenResult> {
    const { store, stepValue } = this.#options;
    if (address.pointer.length > 0) {
      const { value } = await this.load(text);
      return inlineResult(address.executionId, text, value);
    }
    if (address.kind === "content") {
      const row = await findResult(store.durable, address);
      if (row === undefined) {
        throw missing(text);
      }
      return this.#opened(row);
    }
    const { executionId, step, row } = address;
    const value = await stepValue(executionId, step, row);
    if (value === undefined) {
      return await this.#openNamed(executionId, step);
    }
    const inside = toRef(value);
    return inside === undefined
      ? inlineResult(executionId, step, value)
      : await this.#openInside(executionId, step, { value, ref: inside });
  }

  /** What only looks like a reference is the step's value itself. */
  async #openInside(
    executionId: ExecutionId,
    step: string,
    { value, ref }: { readonly value: Json; readonly ref: string },
  ): Promise<OpenResult> {
    try {
      return await this.open(ref, executionId);
    } catch (error) {
      if (error instanceof AppError && error.code === "RESULT_FOREIGN") {
        return inlineResult(executionId, step, value);
      }
      throw error;
    }
  }

  #opened(row: ResultRow): OpenResult {
    const { body } = row;
    const store = this.#options.sources[body.store];
    if (store === undefined) {
      const message = `The value lies in a store of kind ${body.store}, which this server is not configured for`;
      throw new AppError("unavailable", "RESULT_STORE_UNCONFIGURED", message);
    }
    return {
      info: infoOf(row),
      read: (range = { begin: 0, end: body.size }) =>
        unpackFrames(store.readFrames(body, Math.floor(range.begin / FRAME_BYTES)), range),
    };
  }
}

async function* join(
  head: Uint8Array<ArrayBuffer>,
  second: IteratorResult<Uint8Array<ArrayBuffer>, unknown>,
  rest: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield head;
  if (second.done !== true) {
    yield second.value;
    yield* rest;
  }
}

function checkName(name: string): void {
  if (name === "" || name.length > NAME_CHARS_MAX) {
    const message = `The name of a stored value has 1 to ${NAME_CHARS_MAX} characters`;
    throw new AppError("invalid", "RESULT_NAME_INVALID", message);
  }
}

/** @throws AppError invalid REF_INVALID */
function toAddress(text: string): ResultAddress {
  const address = parseAddress(text);
  if (address === undefined) {
    const message = `Not a reference to a stored value: ${text.slice(0, 200)}`;
    throw new AppError("invalid", "REF_INVALID", message);
  }
  return address;
}

function missing(what: string): AppError {
  const message = `There is no stored value ${what}, or it has expired`;
  return new AppError("not_found", "RESULT_NOT_FOUND", message);
}

function nameOf(result: NewResult, sha256: string): ResultName {
  const { executionId, name, step, scope = "execution", ttlMs } = result;
  const contentType = result.contentType ?? JSON_TYPE;
  return { executionId, sha256, name, step, scope, contentType, ttlMs };
}

function infoOf({ body, expiresAtMs, step, ...row }: ResultRow): ResultInfo {
  const { executionId, name, sha256 } = row;
  const { size, type, store } = body;
  const $ref = contentRef(executionId, name, sha256);
  return {
    ...row,
    ref: { $ref, size, type: type as ResultRef["type"] },
    step: step ?? undefined,
    size,
    store,
    expiresAtMs: expiresAtMs ?? undefined,
  };
}

/** A value that is part of the log, or of a larger one. */
function inlineResult(executionId: ExecutionId, step: string, value: Json): OpenResult {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  const size = bytes.length;
  const type = typeOfBytes(JSON_TYPE, bytes);
  return {
    info: {
      ref: { $ref: contentRef(executionId, step, sha256), size, type },
      ...{
        executionId,
        name: step,
        step,
        scope: "execution",
        contentType: JSON_TYPE,
        sha256,
        size,
      },
      ...{ storedSize: size, store: "inline", createdAtMs: 0 },
    },
    read: ({ begin, end } = { begin: 0, end: size }) => each([bytes.subarray(begin, end)]),
  };
}

/** JSON text of a list or map, some entries at a time; what is inside them is small. */
function* jsonPieces(value: Json): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  if (typeof value !== "object" || value === null) {
    yield encoder.encode(JSON.stringify(value));
    return;
  }
  const isArray = isList(value);
  let text = isArray ? "[" : "{";
  let separator = "";
  for (const [name, inner] of Object.entries(value)) {
    text += `${separator}${isArray ? "" : `${JSON.stringify(name)}:`}${JSON.stringify(inner)}`;
    separator = ",";
    if (text.length > PIECE_CHARS) {
      yield encoder.encode(text);
      text = "";
    }
  }
  yield encoder.encode(text + (isArray ? "]" : "}"));
}

async function* each(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* await Promise.resolve(parts);
}

function toRef(value: Json): string | undefined {
  return isResultRef(value) ? value.$ref : undefined;
}

/** JSON of the bytes; of other content the text, or base64 where it is none. */
async function readJson(source: AsyncIterable<Uint8Array>, contentType: string): Promise<Json> {
  const parts: Uint8Array[] = [];
  for await (const piece of source) {
    parts.push(piece);
  }
  return decodeResult(Buffer.concat(parts), contentType);
}
