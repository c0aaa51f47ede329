/**
 * A subscription after parsing: where messages come from, which of them count, and the playbook that
 * each (or each batch) starts. Plain JSON, as the store keeps it. Templates see the names listed in
 * src/triggers/dispatch-plan.ts; nothing is rendered here.
 */
import type { Json, JsonObject } from "../core/json.ts";
import type { DocumentResult, Header } from "./document.ts";
import { readDocument } from "./document.ts";
import { checkTemplates, readGuard } from "./expression.ts";
import { readDuration } from "./policy.ts";
import { Fields } from "./report.ts";
import type { NatsSource, WebhookSource } from "./subscription-source.ts";
import { NATS_KEYS, readNatsSource, readWebhookSource } from "./subscription-source.ts";
import type { TriggerTarget } from "./trigger-target.ts";
import { readTarget, TARGET_KEYS } from "./trigger-target.ts";

export interface Subscription {
  readonly name: string;
  /** Catalog path; unique among subscriptions. */
  readonly path: string;
  readonly description?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** False: a new one waits to be activated. */
  readonly isEnabled: boolean;
  readonly source: NatsSource | WebhookSource;
  readonly dispatch: Dispatch;
  /** Guard; absent: every message counts. */
  readonly filter?: Json;
  readonly dedup?: Dedup;
  readonly limits: Limits;
  readonly directives: readonly HeaderDirective[];
  readonly breaker: BreakerOptions;
  readonly deadLetter: DeadLetterOptions;
}

export interface Dispatch extends TriggerTarget {
  /** Several messages start one execution. */
  readonly isBatch: boolean;
  /** Messages of one execution at most. */
  readonly batchMax: number;
  /** How long a batch waits to be filled. */
  readonly batchWaitMs: number;
  /** Template or expression of one message's payload; absent: its data. */
  readonly payloadFrom?: Json;
  /** Merged over it; may hold templates. */
  readonly payload: JsonObject;
}

export interface Dedup {
  /** Template or expression over the message; else `header`; absent both: the source's own id. */
  readonly key?: string;
  /** Lower case. */
  readonly header?: string;
  readonly windowMs: number;
}

export interface Limits {
  /** Executions of this subscription that have not ended. */
  readonly maxInFlight?: number;
  readonly maxDispatchPerSecond?: number;
}

export const CONTROLS = [
  "playbook",
  "version",
  "execution_pool",
  "priority",
  "dedup_key",
  "drop",
] as const;

export interface HeaderDirective {
  /** Lower case. */
  readonly header: string;
  readonly controls: (typeof CONTROLS)[number];
}

export interface BreakerOptions {
  /** Failed dispatches in a row that open it. */
  readonly failures: number;
  readonly cooldownMs: number;
}

export interface DeadLetterOptions {
  /** Tries of a dispatch before it is a dead letter. */
  readonly attempts: number;
  /** NATS subject that is told of each, if it can be. */
  readonly subject?: string;
}

const SPEC_KEYS = [
  "enabled",
  "source",
  "mode",
  "activation",
  "nats",
  "source_config",
  "ingress",
  "dispatch",
  "filter",
  "dedup",
  "limits",
  "headers",
  "circuit_breaker",
  "dead_letter",
  "spool",
];
const DISPATCH_KEYS = [
  ...TARGET_KEYS,
  "batch_dispatch",
  "batch_max",
  "batch_wait",
  "payload_from",
  "payload",
];
const BATCH_MAX_DEFAULT = 100;
const BATCH_MAX = 1000;
const BATCH_WAIT_MS = 1000;
const DEDUP_WINDOW_SECONDS = 24 * 60 * 60;
const BREAKER_FAILURES = 5;
const BREAKER_COOLDOWN_MS = 30_000;
const DISPATCH_ATTEMPTS = 5;

/** Never throws on any text. */
export function parseSubscription(text: string): DocumentResult<Subscription> {
  return readDocument(text, readSubscription);
}

function readSubscription(spec: Fields, header: Header): Subscription {
  const source = readSource(spec, header);
  const filter = readGuard(spec, "filter");
  const dedup = readDedup(spec.fields("dedup"));
  warnOfSpool(spec.fields("spool"));
  return {
    ...header,
    isEnabled: spec.flag("enabled") ?? true,
    source,
    dispatch: readDispatch(spec, source.kind),
    ...(filter === undefined ? {} : { filter }),
    ...(dedup === undefined ? {} : { dedup }),
    limits: readLimits(spec.fields("limits")),
    directives: readDirectives(spec.fields("headers")),
    breaker: readBreaker(spec.fields("circuit_breaker")),
    deadLetter: readDeadLetter(spec.fields("dead_letter")),
  };
}

function readSource(spec: Fields, header: Header): NatsSource | WebhookSource {
  const kind = spec.text("source");
  if (kind === "webhook") {
    spec.checkKeys(SPEC_KEYS);
    checkMode(spec, "push");
    return readWebhookSource(spec.fields("ingress"), header.path);
  }
  spec.checkKeys([...SPEC_KEYS, ...NATS_KEYS]);
  if (kind === "pubsub" || kind === "kafka") {
    const message = `source ${kind} is not supported here: forward its messages to nats or to a webhook`;
    spec.error("SOURCE_UNSUPPORTED", "source", message);
  } else if (kind !== "nats") {
    spec.error("SOURCE_UNKNOWN", "source", "source must be nats or webhook");
  } else {
    checkMode(spec, "pull");
    return readNatsSource(spec, header.name);
  }
  return {
    kind: "nats",
    subject: "",
    durable: "",
    isJetStream: true,
    deliver: "all",
    ackWaitMs: 0,
  };
}

function checkMode(spec: Fields, expected: "pull" | "push"): void {
  const mode = spec.choice("mode", ["pull", "push"], "MODE_UNKNOWN") ?? expected;
  if (mode !== expected) {
    const message = `source ${spec.text("source") ?? ""} has mode ${expected}, not ${mode}`;
    spec.error("MODE_UNSUPPORTED", "mode", message);
  }
  const activation = spec.choice("activation", ["continuous", "scheduled"], "ACTIVATION_UNKNOWN");
  if (activation === "scheduled") {
    const message = "activation scheduled is not supported: use continuous, or a kind: Schedule";
    spec.error("ACTIVATION_UNSUPPORTED", "activation", message);
  }
}

function readDispatch(spec: Fields, source: "nats" | "webhook"): Dispatch {
  const dispatch = spec.fields("dispatch");
  dispatch.checkKeys(DISPATCH_KEYS);
  const isBatch = dispatch.flag("batch_dispatch") ?? false;
  if (isBatch && source === "webhook") {
    const message = "a webhook starts one execution a request: batch_dispatch is for nats";
    dispatch.error("BATCH_UNSUPPORTED", "batch_dispatch", message);
  }
  const batchMax = dispatch.integer("batch_max", 1) ?? BATCH_MAX_DEFAULT;
  if (batchMax > BATCH_MAX) {
    dispatch.error("BATCH_MAX_INVALID", "batch_max", `batch_max is 1 to ${BATCH_MAX}`);
  }
  const payload = dispatch.fields("payload");
  checkTemplates(dispatch.report, payload.map, payload.path);
  const payloadFrom = readPayloadFrom(dispatch);
  return {
    ...readTarget(dispatch),
    isBatch,
    batchMax,
    batchWaitMs: readDuration(dispatch, "batch_wait") ?? BATCH_WAIT_MS,
    ...(payloadFrom === undefined ? {} : { payloadFrom }),
    payload: payload.map,
  };
}

/** A text is an expression, with braces or without; a map is a map of templates. */
function readPayloadFrom(dispatch: Fields): Json | undefined {
  const value = dispatch.get("payload_from");
  if (typeof value === "string") {
    return readGuard(dispatch, "payload_from");
  }
  checkTemplates(dispatch.report, value, dispatch.at("payload_from"));
  return value;
}

function readDedup(dedup: Fields): Dedup | undefined {
  dedup.checkKeys(["enabled", "window_secs", "window", "key", "header"]);
  const isEnabled = dedup.flag("enabled") ?? Object.keys(dedup.map).length > 0;
  const windowKey = dedup.firstOf(["window", "window_secs"]) ?? "window";
  const windowMs = readDuration(dedup, windowKey) ?? DEDUP_WINDOW_SECONDS * 1000;
  const key = readGuard(dedup, "key");
  const header = dedup.text("header")?.toLowerCase();
  return isEnabled
    ? {
        windowMs,
        ...(typeof key === "string" ? { key } : {}),
        ...(header === undefined ? {} : { header }),
      }
    : undefined;
}

function readLimits(limits: Fields): Limits {
  limits.checkKeys(["max_in_flight", "max_dispatch_per_sec"]);
  const maxInFlight = limits.integer("max_in_flight", 1);
  const rate = limits.get("max_dispatch_per_sec");
  if (rate !== undefined && !(typeof rate === "number" && rate > 0)) {
    const message = "max_dispatch_per_sec must be a number above 0";
    limits.error("RATE_INVALID", "max_dispatch_per_sec", message);
  }
  return {
    ...(maxInFlight === undefined ? {} : { maxInFlight }),
    ...(typeof rate === "number" ? { maxDispatchPerSecond: rate } : {}),
  };
}

function readDirectives(headers: Fields): readonly HeaderDirective[] {
  headers.checkKeys(["directives"]);
  return headers.list("directives").flatMap((item, index) => {
    const path = `${headers.at("directives")}[${index}]`;
    return readDirective(Fields.of(headers.report, item, path));
  });
}

function readDirective(fields: Fields): readonly HeaderDirective[] {
  fields.checkKeys(["header", "controls"]);
  const header = fields.text("header")?.toLowerCase();
  const controls = fields.choice("controls", CONTROLS, "CONTROLS_UNKNOWN");
  if (header === undefined || !fields.has("controls")) {
    const message = 'a directive needs a "header" and what it "controls"';
    fields.report.error("DIRECTIVE_INVALID", fields.path, message);
  }
  return header === undefined || controls === undefined ? [] : [{ header, controls }];
}

function readBreaker(breaker: Fields): BreakerOptions {
  breaker.checkKeys(["failures", "failure_threshold", "cooldown", "cooldown_secs"]);
  const failuresKey = breaker.firstOf(["failures", "failure_threshold"]) ?? "failures";
  const cooldownKey = breaker.firstOf(["cooldown", "cooldown_secs"]) ?? "cooldown";
  return {
    failures: breaker.integer(failuresKey, 1) ?? BREAKER_FAILURES,
    cooldownMs: readDuration(breaker, cooldownKey) ?? BREAKER_COOLDOWN_MS,
  };
}

function readDeadLetter(deadLetter: Fields): DeadLetterOptions {
  deadLetter.checkKeys(["attempts", "max_attempts", "subject"]);
  const attemptsKey = deadLetter.firstOf(["attempts", "max_attempts"]) ?? "attempts";
  const subject = deadLetter.text("subject");
  return {
    attempts: deadLetter.integer(attemptsKey, 1) ?? DISPATCH_ATTEMPTS,
    ...(subject === undefined ? {} : { subject }),
  };
}

function warnOfSpool(spool: Fields): void {
  if ((spool.text("mode") ?? "off") !== "off") {
    const message = "spool has no effect: messages are in PostgreSQL before they are acknowledged";
    spool.warn("FIELD_IGNORED", "mode", message);
  }
}
