/** Where the messages of a subscription come from: a NATS subject, or requests to a hook. */
import { readDuration } from "./policy.ts";
import type { Fields } from "./report.ts";

export interface NatsSource {
  readonly kind: "nats";
  /** Credential of type `nats`; absent: the platform's own NATS. */
  readonly credential?: string;
  /** JetStream stream; absent: the one that takes the subject. */
  readonly stream?: string;
  /** May hold wildcards. */
  readonly subject: string;
  /** Name of the durable consumer. */
  readonly durable: string;
  /** False: plain subscription, which misses what is published while nobody listens. */
  readonly isJetStream: boolean;
  /** Where a new durable consumer begins. */
  readonly deliver: "all" | "new" | "last";
  /** After this a message that was not acknowledged comes again. */
  readonly ackWaitMs: number;
}

export interface WebhookSource {
  readonly kind: "webhook";
  /** Behind `/hooks/`. */
  readonly path: string;
  readonly verify: Verify;
  /** Largest body. */
  readonly bytesMax: number;
  /** Longest `?wait=`; 0: none. */
  readonly waitMsMax: number;
  /** Headers that templates and payloads see, lower case; absent: all but those with secrets. */
  readonly headers?: readonly string[];
}

export type Verify = BearerVerify | HmacVerify;

export interface BearerVerify {
  readonly type: "bearer";
  /** Credential whose `token` (or `secret`, `key`) the caller sends. */
  readonly credential: string;
}

export interface HmacVerify {
  readonly type: "hmac_sha256";
  /** Credential with the key, as `secret` (or `key`, `token`). */
  readonly credential: string;
  /** Header with the signature, lower case. */
  readonly header: string;
  /** Text in front of the signature. One of several comma-separated parts may have it. */
  readonly prefix: string;
  readonly encoding: "hex" | "base64";
  /** What is signed: `{body}` and `{timestamp}` are filled in. */
  readonly signed: string;
  readonly timestamp?: {
    /** Lower case; seconds since 1970, or an ISO time. */
    readonly header: string;
    /** Text in front of it, as `prefix`. */
    readonly prefix: string;
    /** How far it may be off the server's clock. */
    readonly toleranceMs: number;
  };
}

export const NATS_KEYS: readonly string[] = [
  "credential",
  "auth",
  "stream",
  "subject",
  "durable",
  "consumer",
  "jetstream",
  "deliver",
  "ack_wait",
];
const VERIFY_KEYS = [
  "type",
  "credential",
  "auth",
  "header",
  "prefix",
  "encoding",
  "signed",
  "timestamp_header",
  "timestamp_prefix",
  "tolerance",
];
const ACK_WAIT_MS = 30_000;
const ACK_WAIT_MS_MIN = 1000;
const BYTES_MAX_DEFAULT = 1024 * 1024;
const BYTES_MAX = 16 * 1024 * 1024;
const WAIT_MS_DEFAULT = 30_000;
/** Below the time after which the listener closes a silent connection. */
const WAIT_MS_MAX = 55_000;
const TOLERANCE_MS = 300_000;
const HOOK_PATH = /^[A-Za-z0-9][A-Za-z0-9._~/-]*$/;
const CONSUMER_NAME = /^[A-Za-z0-9_-]{1,200}$/;

/** In `nats:` or `source_config:`, or in the spec itself. */
export function readNatsSource(spec: Fields, name: string): NatsSource {
  const key = spec.firstOf(["nats", "source_config"]);
  const fields = key === undefined ? spec : spec.fields(key);
  if (key !== undefined) {
    fields.checkKeys(NATS_KEYS);
  }
  const subject = fields.text("subject") ?? "";
  if (!/^[^\s]+$/.test(subject)) {
    fields.error("SUBJECT_INVALID", "subject", 'name the "subject" to listen to');
  }
  const stream = fields.text("stream");
  const credential = fields.text("credential") ?? fields.text("auth");
  return {
    kind: "nats",
    ...(credential === undefined ? {} : { credential }),
    ...(stream === undefined ? {} : { stream }),
    subject,
    durable: readDurable(fields, name),
    isJetStream: fields.flag("jetstream") ?? true,
    deliver: fields.choice("deliver", ["all", "new", "last"], "DELIVER_UNKNOWN") ?? "all",
    ackWaitMs: Math.max(ACK_WAIT_MS_MIN, readDuration(fields, "ack_wait") ?? ACK_WAIT_MS),
  };
}

function readDurable(fields: Fields, name: string): string {
  const key = fields.firstOf(["durable", "consumer"]) ?? "durable";
  const durable =
    fields.text(key) ?? `noetl_subscription_${name.replaceAll(/[^A-Za-z0-9_-]/g, "_")}`;
  if (!CONSUMER_NAME.test(durable)) {
    fields.error("DURABLE_INVALID", key, `${key} must be letters, digits, - and _`);
  }
  return durable;
}

export function readWebhookSource(ingress: Fields, documentPath: string): WebhookSource {
  ingress.checkKeys(["gateway_path", "path", "verify", "max_body_bytes", "max_wait", "headers"]);
  const pathKey = ingress.firstOf(["gateway_path", "path"]) ?? "gateway_path";
  const path = (ingress.text(pathKey) ?? documentPath).replace(/^\/+(hooks\/)?/, "");
  if (!HOOK_PATH.test(path)) {
    ingress.error("HOOK_PATH_INVALID", pathKey, `${pathKey} must be a path such as github/push`);
  }
  const bytesMax = ingress.integer("max_body_bytes", 1) ?? BYTES_MAX_DEFAULT;
  if (bytesMax > BYTES_MAX) {
    ingress.error("BYTES_MAX_INVALID", "max_body_bytes", `max_body_bytes is at most ${BYTES_MAX}`);
  }
  const headers = ingress.has("headers") ? ingress.textList("headers") : undefined;
  return {
    kind: "webhook",
    path,
    verify: readVerify(ingress.fields("verify")),
    bytesMax,
    waitMsMax: Math.min(WAIT_MS_MAX, readDuration(ingress, "max_wait") ?? WAIT_MS_DEFAULT),
    ...(headers === undefined ? {} : { headers: headers.map((name) => name.toLowerCase()) }),
  };
}

function readVerify(verify: Fields): Verify {
  verify.checkKeys(VERIFY_KEYS);
  const type = verify.choice("type", ["hmac_sha256", "bearer", "pubsub_oidc"], "VERIFY_UNKNOWN");
  if (type === "pubsub_oidc") {
    const message = "verify type pubsub_oidc is not supported: use hmac_sha256 or bearer";
    verify.error("VERIFY_UNSUPPORTED", "type", message);
  } else if (!verify.has("type")) {
    const message = "who calls must be verified: set type to hmac_sha256 or bearer";
    verify.report.error("VERIFY_MISSING", verify.path, message);
  }
  const credential = verify.text("credential") ?? verify.text("auth") ?? "";
  if (credential === "") {
    const message = 'name the "credential" that holds the secret';
    verify.report.error("CREDENTIAL_MISSING", verify.path, message);
  }
  return type === "hmac_sha256" ? readHmac(verify, credential) : { type: "bearer", credential };
}

function readHmac(verify: Fields, credential: string): HmacVerify {
  const timestampHeader = verify.text("timestamp_header")?.toLowerCase();
  const otherwise = timestampHeader === undefined ? "{body}" : "{timestamp}.{body}";
  const signed = verify.text("signed") ?? otherwise;
  if (!signed.includes("{body}")) {
    verify.error("SIGNED_INVALID", "signed", "signed must hold {body}");
  }
  if (signed.includes("{timestamp}") && timestampHeader === undefined) {
    verify.error("SIGNED_INVALID", "signed", "{timestamp} needs a timestamp_header");
  }
  return {
    type: "hmac_sha256",
    credential,
    header: (verify.text("header") ?? "x-hub-signature-256").toLowerCase(),
    prefix: verify.text("prefix") ?? (verify.has("header") ? "" : "sha256="),
    encoding: verify.choice("encoding", ["hex", "base64"], "ENCODING_UNKNOWN") ?? "hex",
    signed,
    ...(timestampHeader === undefined
      ? {}
      : {
          timestamp: {
            header: timestampHeader,
            prefix: verify.text("timestamp_prefix") ?? "",
            toleranceMs: readDuration(verify, "tolerance") ?? TOLERANCE_MS,
          },
        }),
  };
}
