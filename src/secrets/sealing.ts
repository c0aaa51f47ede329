/**
 * Envelope encryption of secrets at rest. Each secret gets a random data key (DEK) of its own, which
 * encrypts it and is itself encrypted ("wrapped") by the key encryption key (KEK) of the platform.
 * Changing the KEK therefore means to rewrap small keys, not to touch the secrets.
 *
 * Several KEKs may be at hand: the current one seals, older ones open what they sealed until
 * {@link Sealer.rewrap} has wrapped its data key anew.
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

/** Where operators give keys, for error texts. */
export const OLD_KEYS_SETTING = "NOETL_ENCRYPTION_OLD_KEYS";

export interface Sealer {
  /** Names the current key without revealing it: first 8 hex digits of its SHA-256. */
  readonly keyId: string;
  /** The current key's id, then those of older keys. */
  readonly keyIds: readonly string[];
  /** Encrypts `value` with the current key, bound to `context`. Two calls never give the same text. */
  seal(value: Json, context: string): string;
  /**
   * Decrypts what {@link seal} made with one of the keys and the same context.
   *
   * @throws AppError conflict SEAL_KEY_MISSING (names the key and the setting that takes it);
   *   internal SEAL_BROKEN (changed, or wrong context).
   */
  open(sealed: string, context: string): Json;
  /**
   * The same secret with its data key wrapped by the current key; the secret itself is not opened.
   * The same text if it is wrapped so already.
   *
   * @throws AppError as {@link open}.
   */
  rewrap(sealed: string): string;
}

/**
 * @param current 32 bytes: seals and opens.
 * @param older further keys that open only.
 */
export function createSealer(current: Uint8Array, older: readonly Uint8Array[] = []): Sealer {
  const keyring = new Map([current, ...older].map((key) => [keyIdOf(key), checkLength(key)]));
  const keyId = keyIdOf(current);
  return {
    keyId,
    keyIds: [...keyring.keys()],
    seal: (value, context) => {
      const dek = randomBytes(KEY_BYTES);
      const ct = encrypt(dek, Buffer.from(JSON.stringify(value)), context);
      return writeEnvelope({ ct, dek: wrap(dek, keyId, current) });
    },
    open: (sealed, context) => {
      const { ct, dek } = parseEnvelope(sealed);
      const kek = findKey(keyring, dek.kid);
      return unlessBroken(() =>
        parseJson(decrypt(decrypt(kek, dek.ct, dek.kid), ct, context).toString("utf8")),
      );
    },
    rewrap: (sealed) => {
      const { ct, dek } = parseEnvelope(sealed);
      const kek = findKey(keyring, dek.kid);
      return dek.kid === keyId
        ? sealed
        : unlessBroken(() => {
            const plain = decrypt(kek, dek.ct, dek.kid);
            return writeEnvelope({ ct, dek: wrap(plain, keyId, current) });
          });
    },
  };
}

function keyIdOf(key: Uint8Array): string {
  return createHash("sha256").update(key).digest("hex").slice(0, 8);
}

function checkLength(key: Uint8Array): Uint8Array {
  if (key.length !== KEY_BYTES) {
    throw new RangeError(`Cannot seal with a key of ${key.length} bytes: must be ${KEY_BYTES}`);
  }
  return key;
}

function findKey(keyring: ReadonlyMap<string, Uint8Array>, kid: string): Uint8Array {
  const key = keyring.get(kid);
  if (key === undefined) {
    const [current, ...older] = keyring.keys();
    const known = older.length === 0 ? "" : ` and the older ${older.join(", ")}`;
    throw new AppError(
      "conflict",
      "SEAL_KEY_MISSING",
      `Cannot open a secret sealed with key ${kid}: this server has key ${current}${known}. ` +
        `Give it the missing key in ${OLD_KEYS_SETTING}, or save the secret again`,
      { details: { keyId: kid } },
    );
  }
  return key;
}

function wrap(dek: Uint8Array, kid: string, kek: Uint8Array): Envelope["dek"] {
  return { kid, ct: encrypt(kek, dek, kid) };
}

function writeEnvelope({ ct, dek }: Envelope): string {
  const { kid } = dek;
  return JSON.stringify({
    v: 1,
    alg: ALGORITHM,
    ct,
    dek: { alg: ALGORITHM, kid, ct: dek.ct },
  });
}

function unlessBroken<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    throw broken(error);
  }
}

interface Envelope {
  readonly ct: string;
  readonly dek: { readonly kid: string; readonly ct: string };
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
