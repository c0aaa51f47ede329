/** What a task finds below `/noetl`: its input, its files, and the variables that lead there. */
import { normalize } from "node:path/posix";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import { taskError } from "../task-error.ts";
import type { ToolCall, ToolContext } from "../tool.ts";
import type { Problems } from "./reading.ts";

export type TaskFile = { readonly path: string } & (
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "base64"; readonly base64: string }
  /** A reference, URI or URN of a stored value, whose bytes are the file. */
  | { readonly kind: "stored"; readonly address: string }
);

const FILES = "files";
/** Longer values are only in the file: a process may not have much more in one variable. */
export const VARIABLE_BYTES_MAX = 32 * 1024;

/** By path below `/noetl/files`. */
export function readFiles(config: JsonObject, problems: Problems): readonly TaskFile[] {
  const { files } = config;
  return Object.entries(isJsonObject(files) ? files : {}).flatMap(([name, value]) => {
    const path = normalize(name);
    if (name === "" || path.startsWith("/") || /^\.\.?(?:\/|$)/.test(path) || path.endsWith("/")) {
      problems.add("files", `has a path that does not lead into ${FILES}: ${JSON.stringify(name)}`);
      return [];
    }
    return [{ path: `${FILES}/${path}`, ...contentOf(value) }];
  });
}

type Content = TaskFile extends infer File
  ? File extends TaskFile
    ? Omit<File, "path">
    : never
  : never;

/** Other values than texts are written as JSON. */
function contentOf(value: Json): Content {
  if (typeof value === "string") {
    return { kind: "text", text: value };
  }
  const [[key, inner] = ["", null], ...others] = isJsonObject(value) ? Object.entries(value) : [];
  if (others.length === 0 && typeof inner === "string") {
    if (key === "base64") {
      return { kind: "base64", base64: inner };
    }
    if (key === "ref" || key === "uri" || key === "urn") {
      return { kind: "stored", address: inner };
    }
  }
  return { kind: "text", text: JSON.stringify(value, null, 2) };
}

/**
 * All bytes that the task begins with, by path below `/noetl`.
 *
 * @throws TaskError for base64 that is none, and for more than `bytesMax` in all.
 */
export async function loadFiles(
  files: readonly TaskFile[],
  { input }: Pick<ToolCall, "input">,
  { artifacts }: Pick<ToolContext, "artifacts">,
  bytesMax: number,
): Promise<Readonly<Record<string, Uint8Array>>> {
  const loaded: Record<string, Uint8Array> = {
    "input.json": new TextEncoder().encode(JSON.stringify(input)),
  };
  let size = loaded["input.json"]?.length ?? 0;
  for (const file of files) {
    const bytes = await bytesOf(file, artifacts, bytesMax - size);
    size += bytes.length;
    checkSize(file.path, size, bytesMax);
    loaded[file.path] = bytes;
  }
  return loaded;
}

async function bytesOf(
  file: TaskFile,
  artifacts: ToolContext["artifacts"],
  bytesMax: number,
): Promise<Uint8Array> {
  switch (file.kind) {
    case "text":
      return new TextEncoder().encode(file.text);
    case "base64":
      return fromBase64(file.path, file.base64);
    case "stored":
      return await readStored(file, artifacts, bytesMax);
  }
}

function fromBase64(path: string, text: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(text);
  } catch (error) {
    const message = `The content of ${path} is no base64: ${String(error)}`;
    throw taskError("schema", "FILE_BASE64_INVALID", message);
  }
}

async function readStored(
  { path, address }: Extract<TaskFile, { readonly kind: "stored" }>,
  artifacts: ToolContext["artifacts"],
  bytesMax: number,
): Promise<Uint8Array> {
  checkSize(path, (await artifacts.describe({ address })).size, bytesMax);
  const parts: Uint8Array[] = [];
  await artifacts.read({ address }, () => {
    parts.length = 0;
    return (bytes) => void parts.push(bytes);
  });
  return Buffer.concat(parts);
}

function checkSize(path: string, size: number, bytesMax: number): void {
  if (size > bytesMax) {
    const message = `With ${path} the files of the task are larger than they may be (NOETL_RESULT_BYTES): mount them, or let the task fetch them`;
    throw taskError("limit", "FILES_TOO_LARGE", message);
  }
}

/** The variables that every task has. Those of its own win. */
export function ownVariables(
  { input, executionId, step, attempt }: ToolCall,
  { gpus }: Pick<ToolContext, "gpus">,
): Readonly<Record<string, string>> {
  const [shared] = gpus.filter(({ isShared }) => isShared);
  return {
    ...inputVariables(input),
    NOETL_INPUT: "/noetl/input.json",
    NOETL_RESULT: "/noetl/result.json",
    NOETL_ARTIFACTS: "/noetl/artifacts",
    NOETL_EXECUTION_ID: executionId,
    NOETL_STEP: step,
    NOETL_ATTEMPT: String(attempt),
    ...(shared === undefined ? {} : { NOETL_GPU_MEMORY_MIB: String(shared.memoryMib) }),
  };
}

/** `NOETL_INPUT_<NAME>` of each value that is one line of a shell script's worth: no maps, no lists, no null. */
function inputVariables(input: JsonObject): Readonly<Record<string, string>> {
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(input)) {
    const text = value === null || typeof value === "object" ? undefined : String(value);
    if (
      text !== undefined &&
      Buffer.byteLength(text) <= VARIABLE_BYTES_MAX &&
      !text.includes("\0")
    ) {
      variables[`NOETL_INPUT_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")}`] ??= text;
    }
  }
  return variables;
}
