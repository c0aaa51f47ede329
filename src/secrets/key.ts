/** Where the key encryption key comes from: given by the operator, or made once for one machine. */
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { link, readFile, rm, stat, writeFile } from "node:fs/promises";
import { AppError } from "../core/errors.ts";
import { KEY_BYTES } from "./sealing.ts";

/**
 * Reads base64 of 32 bytes.
 *
 * @throws AppError invalid: SEAL_KEY_INVALID.
 */
export function parseKey(text: string): Uint8Array {
  const key = Buffer.from(text.trim(), "base64");
  if (key.length !== KEY_BYTES) {
    throw new AppError(
      "invalid",
      "SEAL_KEY_INVALID",
      `Cannot use the encryption key: must be base64 of ${KEY_BYTES} bytes, has ${key.length} ` +
        "(make one with `openssl rand -base64 32`)",
    );
  }
  return key;
}

/** Several keys with commas or line ends between them. @throws AppError invalid: SEAL_KEY_INVALID. */
export function parseKeys(text: string): readonly Uint8Array[] {
  return text
    .split(/[\s,]+/)
    .filter((part) => part !== "")
    .map(parseKey);
}

/**
 * The keys in the file at `path`, one a line, the current one first; the file is made with mode 0600
 * and one key if there is none. Two processes that start at the same time agree on one key.
 *
 * @throws AppError forbidden: SEAL_KEY_EXPOSED when others may read the file; SEAL_KEY_INVALID.
 */
export async function loadOrCreateKeys(
  path: string,
): Promise<readonly [Uint8Array, ...Uint8Array[]]> {
  if (!existsSync(path)) {
    await createKeyFile(path);
  }
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) {
    throw new AppError(
      "forbidden",
      "SEAL_KEY_EXPOSED",
      `Cannot use the encryption key in ${path}: its mode is ${(mode & 0o777).toString(8)}, ` +
        `others can read it (run \`chmod 600 ${path}\`)`,
    );
  }
  const text = await readFile(path, "utf8");
  const [current = parseKey(text), ...older] = parseKeys(text);
  return [current, ...older];
}

/** Links a finished file into place: whoever finds the name finds a whole key behind it. */
async function createKeyFile(path: string): Promise<void> {
  const draft = `${path}.${randomUUID()}`;
  try {
    await writeFile(draft, `${randomBytes(KEY_BYTES).toString("base64")}\n`, {
      mode: 0o600,
      flush: true,
    });
    await link(draft, path);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) {
      throw error;
    }
  } finally {
    await rm(draft, { force: true });
  }
}
