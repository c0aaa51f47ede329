/**
 * From messages to a request to start: filter, dedup key, headers that control, payload.
 *
 * Templates see `message` (see message.ts), its fields `data` (also as `body` and `payload`),
 * `headers`, `subject`, `query`, `id`, `time`, and `subscription.name` and `.path`; in
 * `dispatch.payload` of a batch they see `messages` and `count`.
 */
import { AppError } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { HeaderDirective, Subscription } from "../dsl/subscription.ts";
import type { StartRequest } from "../orchestrator/start-execution.ts";
import { evaluateGuard, renderText, renderValue } from "../template/render.ts";
import type { Scope } from "../template/scope.ts";
import type { Message } from "./message.ts";

export type PlannedStart = Omit<StartRequest, "dedup">;

type Controls = HeaderDirective["controls"];

/** False: not for this subscription. @throws TemplateError */
export function isWanted(spec: Subscription, message: Message): boolean {
  const drop = directive(spec, message, "drop");
  if (drop !== undefined && evaluateGuard(`{{ value }}`, scopeOf({ value: drop }))) {
    return false;
  }
  return spec.filter === undefined || evaluateGuard(spec.filter, messageScope(spec, message));
}

/** Undefined: nothing but the message's own identity counts. @throws TemplateError */
export function dedupKey(spec: Subscription, message: Message): string | undefined {
  const given = directive(spec, message, "dedup_key");
  if (given !== undefined || spec.dedup === undefined) {
    return given;
  }
  const { key, header } = spec.dedup;
  if (key !== undefined) {
    return renderText(key, messageScope(spec, message)) || undefined;
  }
  const names = header === undefined ? ID_HEADERS[message.source] : [header];
  return names.map((name) => message.headers[name]).find((value) => value !== undefined);
}

/** Where senders put the id of what they send. */
const ID_HEADERS: Readonly<Record<Message["source"], readonly string[]>> = {
  nats: ["nats-msg-id", "noetl-message-id"],
  webhook: ["idempotency-key", "x-github-delivery", "webhook-id"],
};

/** Messages that start different things must not be in one batch. */
export function laneOf(spec: Subscription, message: Message): string {
  return spec.dispatch.isBatch
    ? JSON.stringify(spec.directives.map(({ header }) => message.headers[header] ?? null))
    : "";
}

/** The names of controls that the messages' headers use. */
export function usedControls(spec: Subscription, message: Message): readonly Controls[] {
  return spec.directives
    .filter(({ header }) => message.headers[header] !== undefined)
    .map(({ controls }) => controls);
}

/**
 * @param messages at least one; several only of a batch.
 * @throws TemplateError; AppError invalid DIRECTIVE_INVALID.
 */
export function planStart(spec: Subscription, messages: readonly Message[]): PlannedStart {
  const { dispatch } = spec;
  const [first] = messages;
  const control = (name: Controls): string | undefined =>
    first === undefined ? undefined : directive(spec, first, name);
  const version = readNumber("version", control("version")) ?? dispatch.version;
  const priority = readNumber("priority", control("priority")) ?? dispatch.priority;
  const pool = control("execution_pool") ?? dispatch.pool;
  return {
    path: control("playbook") ?? dispatch.playbook,
    payload: dispatch.isBatch ? batchPayload(spec, messages) : onePayload(spec, first),
    ...(version === undefined ? {} : { version }),
    ...(pool === undefined ? {} : { pool }),
    ...(priority === undefined ? {} : { priority }),
  };
}

function onePayload(spec: Subscription, message: Message | undefined): JsonObject {
  if (message === undefined) {
    return {};
  }
  const scope = messageScope(spec, message);
  const value = itemPayload(spec, message, scope);
  const payload = isJsonObject(value) ? value : { data: value };
  return { ...payload, ...renderMap(spec.dispatch.payload, scope) };
}

function batchPayload(spec: Subscription, messages: readonly Message[]): JsonObject {
  const items = messages.map((message) => itemPayload(spec, message, messageScope(spec, message)));
  const scope = scopeOf({ messages, count: messages.length, ...subscriptionNames(spec) });
  return {
    messages: items,
    count: items.length,
    ...renderMap(spec.dispatch.payload, scope),
  };
}

function itemPayload({ dispatch }: Subscription, message: Message, scope: Scope): Json {
  return dispatch.payloadFrom === undefined
    ? message.data
    : renderValue(dispatch.payloadFrom, scope);
}

function renderMap(map: JsonObject, scope: Scope): JsonObject {
  const rendered = renderValue(map, scope);
  return isJsonObject(rendered) ? rendered : {};
}

function directive(spec: Subscription, message: Message, name: Controls): string | undefined {
  const used = spec.directives.find(
    ({ header, controls }) => controls === name && message.headers[header] !== undefined,
  );
  return used === undefined ? undefined : message.headers[used.header];
}

function readNumber(name: Controls, text: string | undefined): number | undefined {
  if (text === undefined || text === "latest") {
    return undefined;
  }
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) {
    return number;
  }
  const message = `The header that controls ${name} must hold a number, not ${JSON.stringify(text)}`;
  throw new AppError("invalid", "DIRECTIVE_INVALID", message);
}

function messageScope(spec: Subscription, message: Message): Scope {
  const { data, headers, subject, query, id, time } = message;
  return scopeOf({
    message,
    data,
    body: data,
    payload: data,
    headers,
    subject,
    query,
    id,
    time,
    ...subscriptionNames(spec),
  });
}

function subscriptionNames({ name, path }: Subscription) {
  return { subscription: { name, path } };
}

function scopeOf(names: Readonly<Record<string, unknown>>): Scope {
  return { names, resolved: new Map(), nowMs: Date.now() };
}
