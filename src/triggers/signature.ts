/** Who calls a hook: a token, or an HMAC over the raw body. All comparisons take the same time. */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { JsonObject } from "../core/json.ts";
import type { BearerVerify, HmacVerify, Verify } from "../dsl/subscription-source.ts";

export interface HookCall {
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly nowMs: number;
}

/** Fields of a credential that hold its secret. The second ones are for a change without a gap. */
const SECRET_FIELDS = ["secret", "key", "token", "api_key", "bearer_token", "access_token"];
const PREVIOUS_FIELD = "previous_secret";

/** Undefined: it is who it says. Otherwise why not, without anything secret. */
export function verifyCall(
  verify: Verify,
  credential: JsonObject,
  call: HookCall,
): string | undefined {
  const secrets = readSecrets(credential);
  if (secrets.length === 0) {
    return `credential ${verify.credential} has no secret`;
  }
  return verify.type === "bearer"
    ? verifyBearer(verify, secrets, call)
    : verifyHmac(verify, secrets, call);
}

function readSecrets(credential: JsonObject): readonly string[] {
  const current = SECRET_FIELDS.map((name) => credential[name]).find(isText);
  return [current, credential[PREVIOUS_FIELD]].filter(isText);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function verifyBearer(
  _verify: BearerVerify,
  secrets: readonly string[],
  { headers }: HookCall,
): string | undefined {
  const given = /^Bearer +(.+)$/i.exec(headers["authorization"] ?? "")?.[1];
  if (given === undefined) {
    return "send `Authorization: Bearer …`";
  }
  return secrets.some((secret) => isSame(digest(given), digest(secret)))
    ? undefined
    : "the token is not valid";
}

/** Texts of any length become digests of one. */
function digest(text: string): Buffer {
  return createHmac("sha256", "noetl").update(text).digest();
}

function verifyHmac(
  verify: HmacVerify,
  secrets: readonly string[],
  { headers, body, nowMs }: HookCall,
): string | undefined {
  const given = partsOf(headers[verify.header], verify.prefix);
  if (given.length === 0) {
    return `send the signature in the header ${verify.header}`;
  }
  const { timestamp } = verify;
  const stamp =
    timestamp === undefined ? "" : partsOf(headers[timestamp.header], timestamp.prefix)[0];
  if (stamp === undefined) {
    return `send the time in the header ${timestamp?.header}`;
  }
  if (timestamp !== undefined && !isRecent(stamp, nowMs, timestamp.toleranceMs)) {
    return "the time of the signature is too far off";
  }
  const isValid = secrets.some((secret) => {
    const expected = sign(verify, secret, stamp, body);
    return given.some((text) => isSame(Buffer.from(text, verify.encoding), expected));
  });
  return isValid ? undefined : "the signature is not valid";
}

/** The values that have the prefix; a header may hold several, with commas between them. */
function partsOf(header: string | undefined, prefix: string): readonly string[] {
  const parts = header === undefined ? [] : [header, ...header.split(",")];
  return [...new Set(parts.map((part) => part.trim()))]
    .filter((part) => part.startsWith(prefix) && part.length > prefix.length)
    .map((part) => part.slice(prefix.length))
    .toSorted((left, right) => left.length - right.length);
}

function sign({ signed }: HmacVerify, secret: string, stamp: string, body: Uint8Array): Buffer {
  const hmac = createHmac("sha256", secret);
  for (const [index, part] of signed.replaceAll("{timestamp}", stamp).split("{body}").entries()) {
    if (index > 0) {
      hmac.update(body);
    }
    hmac.update(part);
  }
  return hmac.digest();
}

/** Seconds or milliseconds since 1970, or an ISO time. */
function isRecent(text: string, nowMs: number, toleranceMs: number): boolean {
  const number = Number(text);
  const ms = Number.isNaN(number) ? Date.parse(text) : number * (number > 1e11 ? 1 : 1000);
  return Math.abs(nowMs - ms) <= toleranceMs;
}

function isSame(left: Buffer, right: Buffer): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}
