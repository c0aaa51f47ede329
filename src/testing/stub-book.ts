/** The stubs of one test: which of them answers a call, and what it says when none does. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { isList } from "../engine/value.ts";
import type { CallPattern, Stub, StubAnswer } from "./test-case.ts";

/** One try of a task, or a sub-playbook that starts. */
export interface Call {
  readonly step: string;
  readonly task: string;
  readonly kind: string;
  /** Catalog path of a sub-playbook's execution; undefined: of the playbook under test. */
  readonly playbook: string | undefined;
  readonly visit: number;
  readonly index: number | undefined;
  readonly attempt: number;
  readonly input: JsonObject;
  readonly config: JsonObject;
}

export class StubBook {
  readonly #stubs: readonly Stub[];
  readonly #uses: number[];

  constructor(stubs: readonly Stub[]) {
    this.#stubs = stubs;
    this.#uses = stubs.map(() => 0);
  }

  /** Uses the stub that it finds. */
  answer(call: Call): { readonly answer: StubAnswer; readonly delayMs: number } | undefined {
    const stub = this.#stubs.find(
      (each) => this.#usesOf(each) < each.times && mismatch(each, call) === undefined,
    );
    if (stub === undefined) {
      return undefined;
    }
    const use = this.#usesOf(stub);
    this.#uses[stub.number] = use + 1;
    const answer = stub.answers[Math.min(use, stub.answers.length - 1)];
    return answer === undefined ? undefined : { answer, delayMs: stub.delayMs };
  }

  /** Why the stubs for the call's step or kind do not fit, a line each. */
  reasons(call: Call): readonly string[] {
    return this.#stubs
      .filter(({ step, kind }) => step === call.step || (step === undefined && kind === call.kind))
      .map((stub) => {
        const used = `it has answered ${this.#usesOf(stub)} calls already`;
        return `stub at line ${stub.line}: ${mismatch(stub, call) ?? used}`;
      });
  }

  /** Lines of stubs that answered nothing. */
  unusedLines(): readonly number[] {
    return this.#stubs.filter((stub) => this.#usesOf(stub) === 0).map(({ line }) => line);
  }

  #usesOf({ number }: Stub): number {
    return this.#uses[number] ?? 0;
  }
}

const EQUAL_FIELDS = ["step", "task", "kind", "visit", "index", "attempt"] as const;

/** The first thing in which the call is another one than the pattern says; undefined: it fits. */
export function mismatch(pattern: CallPattern, call: Call): string | undefined {
  if (pattern.playbook !== call.playbook) {
    const own = "the playbook under test";
    return `playbook is ${call.playbook ?? own}, not ${pattern.playbook ?? own}`;
  }
  for (const name of EQUAL_FIELDS) {
    const wanted = pattern[name];
    if (wanted !== undefined && wanted !== call[name]) {
      return `${name} is ${call[name] ?? "absent"}, not ${wanted}`;
    }
  }
  for (const name of ["input", "config"] as const) {
    const wanted = pattern[name];
    if (wanted !== undefined && !isPart(wanted, call[name])) {
      return `${name} is ${JSON.stringify(call[name])}, not ${JSON.stringify(wanted)}`;
    }
  }
  return undefined;
}

/** Maps by the keys that the part has, everything else as a whole. */
function isPart(part: Json, whole: Json): boolean {
  if (isList(part)) {
    return (
      isList(whole) &&
      part.length === whole.length &&
      part.every((each, index) => isPart(each, whole[index] ?? null))
    );
  }
  if (isJsonObject(part)) {
    return isJsonObject(whole) && Object.keys(part).every((key) => isPartOf(part, whole, key));
  }
  return part === whole;
}

function isPartOf(part: JsonObject, whole: JsonObject, key: string): boolean {
  return Object.hasOwn(whole, key) && isPart(part[key] ?? null, whole[key] ?? null);
}
