/** Secrets in files below one folder, for example mounted ones. JSON objects are read as fields. */
import { readFile, realpath, stat } from "node:fs/promises";
import { isAbsolute, join, relative } from "node:path";
import { AppError, errorMessage } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import type { Reference } from "../reference.ts";
import { notConfigured } from "../remote.ts";

const FILE_BYTES_MAX = 1024 * 1024;

/** The text without the line end that editors leave, or the fields of a JSON object. */
export async function readSecretFile(
  reference: Reference,
  folder: string | undefined,
): Promise<Json> {
  if (folder === undefined) {
    throw notConfigured(
      "No secrets are read from files: the operator has to name their folder in NOETL_SECRET_DIR",
    );
  }
  const path = await findInside(String(reference["path"]), folder);
  const text = (await readFile(path, "utf8")).replace(/\r?\n$/, "");
  return readFields(text);
}

/** The file that links lead to; it must lie inside the folder. */
async function findInside(name: string, folder: string): Promise<string> {
  let path: string;
  let inside: string;
  try {
    const root = await realpath(folder);
    path = await realpath(isAbsolute(name) ? name : join(root, name));
    inside = relative(root, path);
  } catch (error) {
    throw unreadable(name, error);
  }
  if (inside === "" || inside === ".." || inside.startsWith("../") || isAbsolute(inside)) {
    const message = `Secret file ${name} lies outside the folder in NOETL_SECRET_DIR`;
    throw new AppError("forbidden", "SECRET_DENIED", message);
  }
  const { size } = await stat(path);
  if (size > FILE_BYTES_MAX) {
    const message = `Secret file ${name} is larger than ${FILE_BYTES_MAX} bytes`;
    throw new AppError("invalid", "SECRET_REFUSED", message);
  }
  return path;
}

function unreadable(name: string, cause: unknown): AppError {
  const reason = errorMessage(cause).includes("ENOENT") ? "does not exist" : "cannot be read";
  return new AppError("not_found", "SECRET_NOT_FOUND", `Secret file ${name} ${reason}`, { cause });
}

function readFields(text: string): Json {
  if (!text.trimStart().startsWith("{")) {
    return text;
  }
  try {
    const value = parseJson(text);
    return isJsonObject(value) ? value : text;
  } catch {
    // A text that only looks like JSON.
    return text;
  }
}
