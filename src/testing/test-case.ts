/** A file of tests beside a playbook, read: what each test stubs, lets run, and expects. */
import type { Json, JsonObject } from "../core/json.ts";
import type { Failure } from "../engine/failure.ts";

/** File names end so: `etl.test.yaml` is beside `etl.yaml`. */
export const TEST_FILE = /\.test\.ya?ml$/;

export interface TestFile {
  /** Of the playbook, relative to the file. */
  readonly playbook: string;
  /** Of sub-playbooks; absent: any playbook in the folder of the file. */
  readonly playbooks: readonly string[] | undefined;
  readonly tests: readonly TestCase[];
}

export interface TestCase {
  /** Unique in its file. */
  readonly name: string;
  readonly line: number;
  readonly payload: JsonObject;
  /** The first that fits a call and is not used up answers it. */
  readonly stubs: readonly Stub[];
  /** Kinds of tools, and steps, whose tasks really run where no stub fits. */
  readonly live: ReadonlySet<string>;
  readonly signals: readonly TestSignal[];
  readonly cancel: { readonly afterMs: number; readonly reason: string } | undefined;
  readonly env: Readonly<Record<string, string>>;
  /** By alias: `keychain.<alias>.<field>`. */
  readonly keychain: JsonObject;
  /** By name, `{type, ...fields}`: what live tools are given. */
  readonly credentials: JsonObject;
  /** When the execution starts, milliseconds since 1970. */
  readonly nowMs: number;
  readonly expect: Expectation;
}

/** Fits the calls that agree with all fields that are set. */
export interface CallPattern {
  readonly step?: string;
  /** Label in a pipeline; `claim`, `renew`, `acknowledge` of a cursor. */
  readonly task?: string;
  readonly kind?: string;
  /** Catalog path of a sub-playbook whose step is meant; absent: one of the playbook under test. */
  readonly playbook?: string;
  /** From 1. */
  readonly visit?: number;
  /** Of a loop item, from 0. */
  readonly index?: number;
  /** Try of the task, from 1. */
  readonly attempt?: number;
  /** Part of the rendered input, of a sub-playbook its payload. */
  readonly input?: JsonObject;
  /** Part of the rendered configuration, for example `{url: …}`. */
  readonly config?: JsonObject;
}

export interface Stub extends CallPattern {
  /** In the document, from 0. */
  readonly number: number;
  readonly line: number;
  /** Calls that it answers at most. */
  readonly times: number;
  /** How long each call takes, on the test's clock. */
  readonly delayMs: number;
  /** One for all calls, or one for each. */
  readonly answers: readonly StubAnswer[];
}

export type StubAnswer =
  /** What the tool gives, as it is. */
  | { readonly kind: "result"; readonly value: Json }
  /** The same, rendered with the names that the task sees. */
  | { readonly kind: "template"; readonly value: Json }
  /** What an http tool makes of such an answer; 400 and more fails the task. */
  | {
      readonly kind: "http";
      readonly status: number;
      readonly headers: Readonly<Record<string, string>>;
      readonly data: Json;
    }
  | { readonly kind: "error"; readonly failure: Failure; readonly value: Json };

export interface TestSignal {
  readonly name: string;
  readonly payload: Json;
  /** After the start, on the test's clock. */
  readonly afterMs: number;
}

/**
 * Maps are compared by the keys that are expected, lists as a whole. A text with a template is a
 * condition on `value`, what is there: `"{{ value > 3 }}"`.
 */
export interface Expectation {
  /** In capitals; RUNNING: it waits for something that never comes. */
  readonly status: string;
  readonly result: Expected | undefined;
  readonly steps: Readonly<Record<string, StepExpectation>>;
  /** All steps, in the order in which they were entered. */
  readonly visited: readonly string[] | undefined;
  readonly notVisited: readonly string[];
  readonly ctx: JsonObject | undefined;
  /** A part of its text, or fields of it. */
  readonly error: Expected | undefined;
  readonly calls: readonly CallExpectation[];
  /** Conditions on `result`, `ctx`, `steps`, `workload`, `status`. */
  readonly that: readonly string[];
}

/** A value that may be null. */
export interface Expected {
  readonly value: Json;
}

export interface StepExpectation {
  readonly status?: string;
  readonly result?: Expected;
  readonly error?: Expected;
  readonly visits?: number;
  /** Tries of its tasks, sub-playbooks included. */
  readonly calls?: number;
}

export interface CallExpectation extends CallPattern {
  /** Absent: at least one. */
  readonly count?: number;
}
