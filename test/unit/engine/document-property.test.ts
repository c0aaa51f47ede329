/**
 * Goal: whatever the parser accepts comes to an end, and no input in any state is too much for the
 * engine. Method: documents from a grammar that has every field of the language, parsed, then run in
 * the worlds of simulator.ts, or driven with inputs by chance. fast-check prints the seed and shrinks;
 * `TEST_SEED=n` repeats a run, `TEST_RUNS=n` makes it longer.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { stringify } from "yaml";
import { errorMessage } from "../../../src/core/errors.ts";
import type { JsonObject } from "../../../src/core/json.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import type { Playbook } from "../../../src/dsl/playbook.ts";
import { toolsNamed } from "../../support/tools.ts";
import { LANGUAGE } from "../dsl/language.ts";
import { drawDocument, fieldsIn } from "./document-grammar.ts";
import { Driver } from "./harness.ts";
import type { Happening } from "./random-input.ts";
import { happening, inputOf, map } from "./random-input.ts";
import type { Tally } from "./simulator.ts";
import { simulate } from "./simulator.ts";

const seed = Number(process.env["TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const numRuns = Number(process.env["TEST_RUNS"] ?? 250);

/** Shrinking has an end too. */
const BOUNDED = { interruptAfterTimeLimit: 40_000, markInterruptAsFailure: false };

const KINDS = toolsNamed(
  ...LANGUAGE.filter(({ block, fate }) => block === "kind" && fate === "yes").map(({ sample }) =>
    String(sample["kind"]),
  ),
);

/** In either of YAML's styles. */
function textOf(document: JsonObject, isFlow: boolean): string {
  return isFlow ? JSON.stringify(document) : stringify(document, { lineWidth: 0 });
}

function read(text: string): Playbook | undefined {
  return parsePlaybook(text, { knownTools: KINDS }).playbook;
}

/** Errors with the document that they are about. */
function shown<T>(text: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new Error(`${errorMessage(error)} in this document:\n${text}`, { cause: error });
  }
}

test("any accepted document comes to an end, whatever happens meanwhile", () => {
  const tallies: Tally[] = [];
  let refused = 0;
  fc.assert(
    fc.property(fc.gen(), fc.boolean(), fc.nat(), (value, isFlow, world) => {
      const text = textOf(drawDocument(value), isFlow);
      const playbook = read(text);
      if (playbook === undefined) {
        refused++;
      } else {
        tallies.push(shown(text, () => simulate(world, playbook)));
      }
    }),
    { seed, numRuns, ...BOUNDED },
  );
  const statuses = new Set(tallies.map(({ status }) => status));
  expect(statuses).toEqual(new Set(["completed", "failed", "cancelled"]));
  expect(tallies.length).toBeGreaterThan(refused * 2);
}, 60_000);

test("the documents have every field that the parser accepts", () => {
  const drawn = new Set<string>();
  fc.assert(
    fc.property(fc.gen(), (value) => fieldsIn(drawDocument(value), drawn)),
    { seed: 1, numRuns: 1500 },
  );
  const triggers = LANGUAGE.filter(({ block }) => /^(subscription|schedule)/.test(block));
  const others = LANGUAGE.filter((row) => row.fate !== "refused" && !triggers.includes(row));
  const missing = new Set(others.flatMap(({ fields }) => fields.split(" ")));
  expect([...missing.difference(drawn).difference(SHAPES)]).toEqual([]);
});

/** Blocks that the grammar leaves out, or writes under other names. */
const SHAPES = new Set([
  "vars",
  "tracing",
  "tools",
  "features",
  "concurrency",
  "key",
  "limit",
  "on_limit",
]);

test("decide never throws, whatever it is given", () => {
  const ends = new Set<string>();
  fc.assert(
    fc.property(fc.gen(), map, fc.array(happening, { maxLength: 60 }), (value, payload, story) => {
      const text = textOf(drawDocument(value), true);
      const playbook = read(text);
      if (playbook !== undefined) {
        ends.add(shown(text, () => tell(new Driver(playbook), payload, story)));
      }
    }),
    { seed, numRuns, ...BOUNDED },
  );
  expect([...ends].sort()).toEqual(["cancelled", "completed", "failed", "pending", "running"]);
}, 60_000);

/** @returns the status at the end of the story. */
function tell(driver: Driver, payload: JsonObject, story: readonly Happening[]): string {
  for (const [index, what] of story.entries()) {
    if (index === 1) {
      driver.start(payload);
    }
    driver.give(inputOf(driver, what));
    expect(bugOf(driver)).toBeUndefined();
  }
  expect(driver.isSameAsReplay()).toBe(true);
  return driver.state.status;
}

/** What the engine says when it has a bug. */
function bugOf({ state }: Driver): string | undefined {
  const { message = "" } = state.failure ?? {};
  return message.startsWith("The engine could not decide") ? message : undefined;
}
