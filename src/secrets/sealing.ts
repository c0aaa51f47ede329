/**
 * Envelope encryption of secrets at rest. Each secret gets a random data key (DEK) of its own, which
 * encrypts it and is itself encrypted ("wrapped") by the key encryption key (KEK) of the platform.
 * Changing the KEK therefore means to rewrap small keys, not to touch the secrets.
 *
 * Both layers are AES-256-GCM. The context (such as the credential's name) is authenticated with
 * the secret: a sealed text copied to another row does not open there.
 *
 * Text form, JSON: `{"v":1,"alg":"A256GCM","ct":…,"dek":{"alg":"A256GCM","kid":…,"ct":…}}`, where `ct`
 * is base64 of nonce (12 bytes), ciphertext and tag (16 bytes).
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { AppError } from "../core/errors.ts";
import type { Json } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";

export const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ALGORITHM = "A256GCM";

export interface Sealer {
  /** Names the key without revealing it: first 8 hex digits of its SHA-256. */
  readonly keyId: string;
  /** Encrypts `value`, bound to `context`. Two calls never give the same text. */
  seal(value: Json, context: string): string;
  /**
   * Decrypts what {@link seal} made with the same key and context.
   *
   * @throws AppError internal: SEAL_KEY_WRONG (another key), SEAL_BROKEN (changed, or wrong context).
   */
  open(sealed: string, context: string): Json;
}

/** @param kek 32 bytes. */
export function createSealer(kek: Uint8Array): Sealer {
  if (kek.length !== KEY_BYTES) {
    throw new RangeError(`Cannot seal with a key of ${kek.length} bytes: must be ${KEY_BYTES}`);
  }
  const keyId = createHash("sha256").update(kek).digest("hex").slice(0, 8);
  return {
    keyId,
    seal: (value, context) => seal(kek, keyId, { value, context }),
    open: (sealed, context) => open(kek, keyId, { sealed, context }),
  };
}

interface Envelope {
  readonly ct: string;
  readonly dek: { readonly kid: string; readonly ct: string };
}

function seal(
  kek: Uint8Array,
  keyId: string,
  { value, context }: { readonly value: Json; readonly context: string },
): string {
  const dek = randomBytes(KEY_BYTES);
  return JSON.stringify({
    v: 1,
    alg: ALGORITHM,
    ct: encrypt(dek, Buffer.from(JSON.stringify(value)), context),
    dek: { alg: ALGORITHM, kid: keyId, ct: encrypt(kek, dek, keyId) },
  });
}

function open(
  kek: Uint8Array,
  keyId: string,
  { sealed, context }: { readonly sealed: string; readonly context: string },
): Json {
  const envelope = parseEnvelope(sealed);
  if (envelope.dek.kid !== keyId) {
    throw new AppError(
      "internal",
      "SEAL_KEY_WRONG",
      `Cannot open a secret sealed with key ${envelope.dek.kid}: this server has key ${keyId}`,
    );
  }
  try {
    const dek = decrypt(kek, envelope.dek.ct, keyId);
    return parseJson(decrypt(dek, envelope.ct, context).toString("utf8"));
  } catch (error) {
    throw broken(error);
  }
}

function parseEnvelope(sealed: string): Envelope {
  try {
    const value = parseJson(sealed);
    const dek = isJsonObject(value) ? value["dek"] : undefined;
    const ct = isJsonObject(value) && value["v"] === 1 ? value["ct"] : undefined;
    if (typeof ct === "string" && isJsonObject(dek)) {
      return { ct, dek: { kid: String(dek["kid"]), ct: String(dek["ct"]) } };
    }
  } catch (error) {
    throw broken(error);
  }
  throw broken();
}

function broken(cause?: unknown): AppError {
  return new AppError("internal", "SEAL_BROKEN", "Cannot open a secret: its text was changed", {
    cause,
  });
}

function encrypt(key: Uint8Array, plain: Uint8Array, context: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(Buffer.from(context));
  const body = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString("base64");
}

function decrypt(key: Uint8Array, text: string, context: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  const nonce = bytes.subarray(0, NONCE_BYTES);
  const tag = bytes.subarray(bytes.length - TAG_BYTES);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(context));
  decipher.setAuthTag(tag);
  const body = bytes.subarray(NONCE_BYTES, bytes.length - TAG_BYTES);
  return Buffer.concat([decipher.update(body), decipher.final()]);
}
