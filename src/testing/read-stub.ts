/** Reads the stubs of a test: which calls they answer, and with what. */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { readDuration } from "../dsl/policy.ts";
import { Fields } from "../dsl/report.ts";
import type { Failure } from "../engine/failure.ts";
import { FAILURE_KINDS, failure } from "../engine/failure.ts";
import { refuseOthers, textMap } from "./strict-fields.ts";
import type { CallPattern, Stub, StubAnswer } from "./test-case.ts";

export const PATTERN_KEYS = [
  "step",
  "task",
  "kind",
  "playbook",
  "visit",
  "index",
  "attempt",
  "input",
  "config",
];
const SINGLE_KEYS = ["result", "template", "http", "error"];
/** `results`: what the tool gives, call by call; `answers`: maps with one of the keys above. */
const SERIES_KEYS = ["results", "answers"];
const ANSWER_KEYS = [...SINGLE_KEYS, ...SERIES_KEYS];
const STUB_KEYS = [...PATTERN_KEYS, ...ANSWER_KEYS, "times", "delay"];
const ERROR_KEYS = ["kind", "code", "message", "retryable", "status", "retry_after", "value"];

export function readStub(fields: Fields, line: number): Stub {
  refuseOthers(fields, STUB_KEYS);
  if (!fields.has("step") && !fields.has("kind")) {
    fields.error("STUB_INVALID", "", "a stub names a step or a kind of tools");
  }
  const answers = readAnswers(fields);
  const isSeries = SERIES_KEYS.some((key) => Object.hasOwn(fields.map, key));
  const times = isSeries ? answers.length : fields.integer("times", 1);
  return {
    ...readPattern(fields),
    number: 0,
    line,
    times: times ?? Number.POSITIVE_INFINITY,
    delayMs: readDuration(fields, "delay") ?? 0,
    answers,
  };
}

export function readPattern(fields: Fields): CallPattern {
  return {
    ...textField(fields, "step"),
    ...textField(fields, "task"),
    ...textField(fields, "kind"),
    ...textField(fields, "playbook"),
    ...numberField(fields, "visit", 1),
    ...numberField(fields, "index", 0),
    ...numberField(fields, "attempt", 1),
    ...(fields.has("input") ? { input: fields.fields("input").map } : {}),
    ...(fields.has("config") ? { config: fields.fields("config").map } : {}),
  };
}

function textField(fields: Fields, key: string): Readonly<Record<string, string>> {
  const text = fields.text(key);
  return text === undefined ? {} : { [key]: text };
}

function numberField(
  fields: Fields,
  key: string,
  minimum: number,
): Readonly<Record<string, number>> {
  const number = fields.integer(key, minimum);
  return number === undefined ? {} : { [key]: number };
}

function readAnswers(fields: Fields): readonly StubAnswer[] {
  const key = onlyKey(fields, ANSWER_KEYS);
  switch (key) {
    case undefined:
      return [];
    case "results":
      return fields.list(key).map((each) => ({ kind: "result", value: each }));
    case "answers":
      return fields.list(key).flatMap((each, index) => {
        const answer = Fields.of(fields.report, each, `${fields.at(key)}[${index}]`);
        refuseOthers(answer, SINGLE_KEYS);
        const single = onlyKey(answer, SINGLE_KEYS);
        return single === undefined ? [] : [readAnswer(answer, single)];
      });
    default:
      return [readAnswer(fields, key)];
  }
}

/** The one that is there. */
function onlyKey(fields: Fields, keys: readonly string[]): string | undefined {
  const given = keys.filter((name) => Object.hasOwn(fields.map, name));
  if (given.length !== 1) {
    const names = keys.join(", ");
    fields.error("STUB_INVALID", given[1] ?? "", `a stub has exactly one of ${names}`);
  }
  return given.length === 1 ? given[0] : undefined;
}

function readAnswer(fields: Fields, key: string): StubAnswer {
  const value = fields.map[key] ?? null;
  switch (key) {
    case "error":
      return readError(fields, value);
    case "http":
      return readHttp(fields.fields(key));
    case "template":
      return { kind: "template", value };
    default:
      return { kind: "result", value };
  }
}

/** A text is the message of an error. */
function readError(stub: Fields, value: Json): StubAnswer {
  if (!isJsonObject(value)) {
    const message = typeof value === "string" ? value : "failed by the test";
    return { kind: "error", failure: failure("client_error", message), value: null };
  }
  const fields = Fields.of(stub.report, value, stub.at("error"));
  refuseOthers(fields, ERROR_KEYS);
  const kind = fields.choice("kind", FAILURE_KINDS, "ERROR_KIND_UNKNOWN") ?? "client_error";
  const message = fields.text("message") ?? "failed by the test";
  const problem = failure(kind, message, errorFields(fields));
  return { kind: "error", failure: problem, value: value["value"] ?? null };
}

function errorFields(fields: Fields): Partial<Omit<Failure, "kind" | "message">> {
  const code = fields.text("code");
  const status = fields.integer("status", 100);
  const retryable = fields.flag("retryable");
  const retryAfterMs = readDuration(fields, "retry_after");
  return {
    ...(code === undefined ? {} : { code }),
    ...(status === undefined ? {} : { status }),
    ...(retryable === undefined ? {} : { retryable }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

function readHttp(fields: Fields): StubAnswer {
  refuseOthers(fields, ["status", "headers", "data"]);
  return {
    kind: "http",
    status: fields.integer("status", 100) ?? 200,
    headers: lowerCase(textMap(fields.fields("headers").map)),
    data: fields.map["data"] ?? null,
  };
}

function lowerCase(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
}
