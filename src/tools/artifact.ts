/**
 * `artifact`: values and files that are kept apart from results, by name or reference.
 *
 * - `get`: the value behind `input.result_ref` (or `ref`, `uri`, `urn`), or the newest of a `name`; with
 *   `file` its bytes go to that file and the result says what they are.
 * - `put`: stores `data`, or the content of `file`, as `name`.
 * - `list`, `delete`: what there is of an execution, and away with one.
 */
import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fsyncSync,
  ftruncateSync,
  openSync,
  writeSync,
} from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, relative } from "node:path";
import { parseDuration } from "../core/duration.ts";
import type { ErrorKind } from "../core/errors.ts";
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import type { Failure, FailureKind } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type { NewResult, ResultInfo, ResultScope } from "../engine/result.ts";
import {
  decodeResult,
  isJsonType,
  JSON_TYPE,
  parseAddress,
  placeUri,
  RESULT_SCOPES,
  toScope,
} from "../engine/result.ts";
import { splitRef, walk } from "../template/ref.ts";
import { ACTIONS, ARTIFACT } from "./artifact/description.ts";
import { taskError, thrownFailure, unlessStopped } from "./task-error.ts";
import type { ResultQuery, Tool, ToolCall, ToolContext, ToolModule } from "./tool.ts";

export interface ArtifactToolOptions {
  /** Where relative paths of `file` lead to. */
  readonly filesDir: string;
  /** A value that is got, not a file. */
  readonly maxOutputBytes: number;
}

type Action = (typeof ACTIONS)[number];

const LIST_MAX = 1000;

const KINDS: Readonly<Record<string, FailureKind>> = {
  RESULT_TOO_LARGE: "limit",
  RESULT_QUOTA: "limit",
};
const KIND_OF: Readonly<Partial<Record<ErrorKind, FailureKind>>> = {
  invalid: "client_error",
  not_found: "not_found",
  conflict: "client_error",
  forbidden: "auth",
  unavailable: "connection",
  timeout: "timeout",
};

export const artifactModule: ToolModule = {
  descriptions: [ARTIFACT],
  create: (parts) => [createArtifactTool(parts)],
};

export function createArtifactTool(options: ArtifactToolOptions): Tool {
  return {
    description: ARTIFACT,
    run: async (call, context) => {
      try {
        const acting = ACT[readAction(call.config)](fieldsOf(call), context, options);
        return { ok: true, value: await unlessStopped(acting, context.signal) };
      } catch (error) {
        return { ok: false, failure: failureOf(error) };
      }
    },
  };
}

function readAction({ action = "get" }: JsonObject): Action {
  return ACTIONS.find((one) => one === action) ?? "get";
}

/** The tool's fields, whether they stand under `input` or beside `action`. */
interface Fields {
  readonly values: JsonObject;
  readonly executionId: ExecutionId;
  readonly step: string;
}

function fieldsOf({ config, input, executionId, step }: ToolCall): Fields {
  return { values: { ...input, ...config }, executionId: executionId as ExecutionId, step };
}

type Act = (fields: Fields, context: ToolContext, options: ArtifactToolOptions) => Promise<Json>;

const ACT: Readonly<Record<Action, Act>> = { get, put, list, delete: remove };

async function get(
  fields: Fields,
  { artifacts }: ToolContext,
  options: ArtifactToolOptions,
): Promise<Json> {
  const { values } = fields;
  const loaded = loadedValue(values);
  if (loaded !== undefined) {
    return loaded;
  }
  const { key, pointer } = wholeOf(readKey(fields));
  if (values["file"] !== undefined && values["file"] !== null) {
    return await getFile(key, pathOf(values["file"], options), artifacts);
  }
  const { size } = await artifacts.describe(key);
  checkSize(size, options.maxOutputBytes);
  const parts: Uint8Array[] = [];
  const info = await artifacts.read(key, () => {
    parts.length = 0;
    return (bytes) => void parts.push(bytes);
  });
  const value = decodeResult(Buffer.concat(parts), info.contentType);
  return isJsonType(info.contentType) ? (walk(value, pointer) ?? null) : viewBytes(info, value);
}

/** A part comes with the whole: the rest is left out here. */
function wholeOf(key: ResultQuery): {
  readonly key: ResultQuery;
  readonly pointer: readonly string[];
} {
  const { base, pointer } = splitRef("address" in key ? key.address : "");
  return { key: "address" in key ? { address: base } : key, pointer };
}

/** A template that reads a stored value gives the value itself: there is nothing left to get. */
function loadedValue(values: JsonObject): Json | undefined {
  const given = values["result_ref"];
  return typeof given === "object" && given !== null ? given : undefined;
}

/** Bytes that are text have as many as the text. */
function viewBytes(info: ResultInfo, data: Json): JsonObject {
  const isText = Buffer.byteLength(String(data)) === info.size;
  return { ...viewInfo(info), data, encoding: isText ? "text" : "base64" };
}

/** The file is there as a whole, or not at all. */
async function getFile(
  key: ResultQuery,
  path: string,
  artifacts: ToolContext["artifacts"],
): Promise<Json> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.part-${randomUUID()}`;
  const file = openSync(temporary, "wx");
  try {
    const info = await artifacts.read(key, () => {
      ftruncateSync(file);
      let position = 0;
      return (bytes) => {
        position += writeSync(file, bytes, 0, bytes.length, position);
      };
    });
    fsyncSync(file);
    await rename(temporary, path);
    return { ...viewInfo(info), file: path };
  } finally {
    closeSync(file);
    await rm(temporary, { force: true });
  }
}

async function put(
  fields: Fields,
  { artifacts }: ToolContext,
  options: ArtifactToolOptions,
): Promise<Json> {
  const { values, executionId, step } = fields;
  const name = values["name"];
  if (typeof name !== "string" || name === "") {
    throw taskError("schema", "ARTIFACT_NAME", "put needs a name for what it stores");
  }
  const keep = { executionId, name, step, scope: readScope(values), ttlMs: readTtl(values) };
  const { file } = values;
  const info =
    file === undefined || file === null
      ? await putData(values, keep, artifacts)
      : await putFile(pathOf(file, options), values, keep, artifacts);
  return { ...viewInfo(info), result_ref: info.ref.$ref, status: "stored" };
}

async function putData(
  values: JsonObject,
  keep: NewResult,
  artifacts: ToolContext["artifacts"],
): Promise<ResultInfo> {
  const { data, encoding } = values;
  if (data === undefined) {
    throw taskError("schema", "ARTIFACT_DATA", "put needs data or a file");
  }
  const isBase64 = encoding === "base64";
  const contentType = readType(values) ?? (isBase64 ? "application/octet-stream" : JSON_TYPE);
  const bytes = toBytes(data, contentType, isBase64);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const result = { ...keep, contentType, sha256, size: bytes.length };
  return await artifacts.put(result, () => [bytes]);
}

function toBytes(data: Json, contentType: string, isBase64: boolean): Uint8Array {
  const decoded = isBase64 ? fromBase64(String(data)) : undefined;
  if (decoded !== undefined) {
    return decoded;
  }
  if (isBase64) {
    throw taskError("schema", "ARTIFACT_DATA", "data is no base64, as encoding says");
  }
  const isText = !isJsonType(contentType) && typeof data === "string";
  return new TextEncoder().encode(isText ? data : JSON.stringify(data));
}

function fromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    // The caller says what is wrong.
    return undefined;
  }
}

async function putFile(
  path: string,
  values: JsonObject,
  keep: NewResult,
  artifacts: ToolContext["artifacts"],
): Promise<ResultInfo> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() !== true) {
    throw taskError("not_found", "FILE_NOT_FOUND", `There is no file ${path} on this worker`);
  }
  const contentType = readType(values) ?? Bun.file(path).type.split(";")[0] ?? JSON_TYPE;
  const result = { ...keep, contentType, size: found.size };
  return await artifacts.put(result, () => createReadStream(path, { highWaterMark: 1024 * 1024 }));
}

async function list(fields: Fields, { artifacts }: ToolContext): Promise<Json> {
  const { values, executionId } = fields;
  const owner = readExecution(values) ?? executionId;
  const name = typeof values["name"] === "string" ? values["name"] : undefined;
  const found = await artifacts.list(owner, { limit: LIST_MAX, offset: 0, name });
  return { artifacts: found.map(viewInfo), count: found.length };
}

async function remove(fields: Fields, { artifacts }: ToolContext): Promise<Json> {
  const key = readKey(fields);
  const ref = "address" in key ? key.address : (await artifacts.describe(key)).ref.$ref;
  return { ref, deleted: await artifacts.remove(ref) };
}

/** @throws TaskError that says what is missing. */
function readKey({ values, executionId }: Fields): ResultQuery {
  for (const field of ["result_ref", "ref", "uri", "urn"]) {
    const address = values[field];
    if (typeof address === "string" && address !== "") {
      if (parseAddress(address) === undefined) {
        const message = `${field} is no reference to a stored value: ${address.slice(0, 200)}`;
        throw taskError("schema", "REF_INVALID", message);
      }
      return { address };
    }
  }
  const name = values["name"];
  if (typeof name === "string" && name !== "") {
    return { executionId: readExecution(values) ?? executionId, name };
  }
  const hint =
    "result_ref" in values
      ? "result_ref is empty: a result below 64 KiB has no _ref, read it by the step's name"
      : "give a result_ref, ref, uri or name";
  throw taskError("schema", "REF_MISSING", `Nothing says which value is meant: ${hint}`);
}

function readExecution(values: JsonObject): ExecutionId | undefined {
  const id = String(values["execution_id"] ?? "");
  return isId(id) ? (id as string as ExecutionId) : undefined;
}

function readScope(values: JsonObject): ResultScope | undefined {
  const { scope } = values;
  const known = toScope(scope);
  if (known === undefined && scope !== undefined && scope !== null) {
    const message = `scope is ${JSON.stringify(scope)}: it must be one of ${RESULT_SCOPES.join(", ")}`;
    throw taskError("schema", "ARTIFACT_SCOPE", message);
  }
  return known;
}

function readTtl(values: JsonObject): number | undefined {
  const ttl = values["ttl"];
  const ttlMs = ttl === undefined || ttl === null ? undefined : parseDuration(ttl);
  if (ttl !== undefined && ttl !== null && (ttlMs === undefined || ttlMs <= 0)) {
    const message = `ttl is ${JSON.stringify(ttl)}: it must be seconds or a text such as 30m or 7d`;
    throw taskError("schema", "ARTIFACT_TTL", message);
  }
  return ttlMs;
}

function readType(values: JsonObject): string | undefined {
  const type = values["content_type"];
  return typeof type === "string" && type !== "" ? type : undefined;
}

/** @throws TaskError for a relative path that leads out of the folder. */
function pathOf(file: Json, { filesDir }: ArtifactToolOptions): string {
  const path = String(file);
  const full = isAbsolute(path) ? path : join(filesDir, path);
  if (!isAbsolute(path) && relative(filesDir, full).startsWith("..")) {
    const message = `file ${path} leads out of the folder of files, ${filesDir}`;
    throw taskError("schema", "FILE_OUTSIDE", message);
  }
  return full;
}

function checkSize(size: number, bytesMax: number): void {
  if (size > bytesMax) {
    const message = `The value has ${size} bytes, a task's result may have ${bytesMax} (NOETL_RESULT_BYTES): get it with file`;
    throw taskError("limit", "RESULT_TOO_LARGE", message);
  }
}

function viewInfo(info: ResultInfo): JsonObject {
  const { ref, executionId, name, scope, contentType, sha256, size, store, expiresAtMs } = info;
  return {
    ref: ref.$ref,
    uri: placeUri(executionId, name),
    name,
    scope,
    store: store === "postgres" ? "db" : store,
    content_type: contentType,
    bytes: size,
    sha256,
    expires_at: expiresAtMs === undefined ? null : new Date(expiresAtMs).toISOString(),
  };
}

/** @throws anything that is a bug. */
function failureOf(error: unknown): Failure {
  const thrown = thrownFailure(error);
  if (thrown !== undefined) {
    return thrown;
  }
  if (error instanceof AppError) {
    return failure(KINDS[error.code] ?? KIND_OF[error.kind] ?? "internal", error.message, {
      code: error.code,
    });
  }
  if (error instanceof Error && "syscall" in error) {
    const code = "code" in error ? String(error.code) : "FILE_ERROR";
    return failure("client_error", `The file cannot be used: ${error.message}`, { code });
  }
  throw error;
}
