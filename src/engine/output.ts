/**
 * `output`: what policy rules, `set` and guards see of the task or step that just ended.
 *
 * Envelope names come first (`status`, `data`, `error`, `http`, `pg`), any other name falls through
 * to the data and, for http calls, to the body. So `output.rows`, `output.data.rows` and
 * `output.data.data` all find what is meant. Alone, `{{ output }}` is the data with `.data` added.
 *
 * A success is `ok`, or `success` for templates that mention that word in quotes: a string cannot
 * compare equal to both, so whoever evaluates a template asks {@link okWord} first.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { outlinedObject } from "../template/ref.ts";
import { Aliased, isResultRef } from "../template/scope.ts";
import type { Failure } from "./failure.ts";
import type { HttpParts, OkWord } from "./value.ts";
import { failureJson, httpParts, member, presentTask, signalPayload } from "./value.ts";

/** How one try of a task ended. The same shape as the outcome of a tool. */
export type TaskOutcome =
  | { readonly ok: true; readonly value: Json; readonly http?: HttpMeta }
  | {
      readonly ok: false;
      readonly failure: Failure;
      readonly value?: Json;
      readonly http?: HttpMeta;
    };

export interface HttpMeta {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** What {@link outputAliased} is made from. */
export interface OutputParts {
  /** Expanded, see value.ts; an {@link Aliased} where the data has names of its own. */
  readonly data: Json | Aliased;
  readonly error?: Failure;
  readonly http?: HttpMeta;
}

const SUCCESS = /['"]success['"]/;

/** The word by which templates inside `source` (a guard, a rule, a task) expect a success. */
export function okWord(source: unknown): OkWord {
  return mentionsSuccess(source, true) ? "success" : "ok";
}

function mentionsSuccess(source: unknown, isGuard: boolean): boolean {
  if (typeof source === "string") {
    return (isGuard || source.includes("{{") || source.includes("{%")) && SUCCESS.test(source);
  }
  return (
    typeof source === "object" &&
    source !== null &&
    Object.entries(source).some(([key, value]) => mentionsSuccess(value, key === "when"))
  );
}

/** `output` after one try of a task. */
export function taskOutput(outcome: TaskOutcome, word: OkWord): Aliased {
  const value = outcome.value ?? null;
  return outputAliased(
    {
      data: presentTask(value),
      ...(outcome.ok ? {} : { error: outcome.failure }),
      ...(outcome.http === undefined ? {} : { http: outcome.http }),
    },
    word,
  );
}

export function outputAliased(parts: OutputParts, word: OkWord): Aliased {
  const { error } = parts;
  const shown = parts.data instanceof Aliased ? parts.data.value : parts.data;
  const http = httpOf(isResultRef(shown) ? (outlinedObject(shown) ?? shown) : shown, parts);
  const data = dataAliased(parts.data, shown, http);
  const alias = (name: string): unknown => {
    switch (name) {
      case "status":
        return error === undefined ? word : "error";
      case "data":
        return data;
      case "error":
        return error === undefined ? undefined : failureJson(error);
      case "http":
        return http === undefined ? undefined : { status: http.status, headers: http.headers };
      case "pg":
        return error?.kind.startsWith("db_") === true ? { code: error.code } : undefined;
      default:
        return member(data, name) ?? refName(parts.data, name);
    }
  };
  return new Aliased(lone(shown, error), alias, undefined, true);
}

/** `_ref`, `_size` … of a stored value whose outline is that of an http call. */
function refName(data: Json | Aliased, name: string): unknown {
  return data instanceof Aliased && name.startsWith("_") ? data.alias(name) : undefined;
}

/** `output.data`: the body of an http call, with the call's own names before the body's. */
function dataAliased(data: Json | Aliased, shown: Json, http: HttpParts | undefined): Aliased {
  if (data instanceof Aliased && http === undefined) {
    return data;
  }
  if (http === undefined) {
    const payload = signalPayload(shown);
    const field = (name: string): unknown =>
      payload === undefined ? undefined : member(payload, name);
    const self: Aliased = new Aliased(shown, (name) => (name === "data" ? self : field(name)));
    return self;
  }
  const envelope: JsonObject = {
    status_code: http.status,
    headers: http.headers,
    data: http.body,
    body: http.body,
  };
  return new Aliased(http.body, (name) => envelope[name], http.body, true);
}

function httpOf(value: Json, { http, error }: OutputParts): HttpParts | undefined {
  const parts = httpParts(value);
  if (parts !== undefined) {
    return parts;
  }
  if (http !== undefined) {
    return { status: http.status, headers: http.headers, body: value };
  }
  return error?.status === undefined
    ? undefined
    : { status: error.status, headers: {}, body: value };
}

/** What a lone `{{ output }}` gives. Lists and scalars have no place for more fields. */
function lone(data: Json, error: Failure | undefined): Json {
  if (error !== undefined) {
    const fields = isJsonObject(data) ? data : {};
    return { status: "error", ...fields, data: fields["data"] ?? data, error: failureJson(error) };
  }
  return isJsonObject(data) && !isResultRef(data) && !Object.hasOwn(data, "data")
    ? { ...data, data }
    : data;
}
