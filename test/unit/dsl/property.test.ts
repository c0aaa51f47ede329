/** Whatever the text: parsePlaybook() answers, with a playbook exactly when there is no error. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { stringify } from "yaml";
import { parse } from "./document.ts";

const seed = process.env["TEST_SEED"];
const OPTIONS = { numRuns: 500, ...(seed === undefined ? {} : { seed: Number(seed) }) };

const SAMPLE = `apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: sample, path: tests/sample}
executor: {spec: {entry_step: start}}
workload: {items: [1, 2], name: "x"}
workbook:
- name: entry
  tool: {kind: python, code: "result = 1", input: {a: 1}}
workflow:
- step: start
  spec: {join: any, policy: {admit: {rules: [{when: "x", then: {allow: true}}]}}}
  loop: {in: "{{ workload.items }}", iterator: item, spec: {mode: parallel, max_in_flight: 2}}
  tool:
  - name: call
    kind: http
    url: "http://{{ host }}/x"
    spec:
      policy:
        rules:
        - when: "{{ output.status == 'error' }}"
          then: {do: retry, attempts: 3, backoff: exponential, delay: 0.5}
        - else: {then: {do: continue, set: {iter.x: "{{ output.data }}"}}}
  - back: {kind: workbook, name: entry, input: {a: 2}}
  set: {ctx.a: "{{ output.rows | length }}"}
  next: {spec: {mode: inclusive}, arcs: [{step: end, when: "{{ ctx.a > 0 }}"}]}
- step: end
`;

function check(text: string): void {
  const { playbook, diagnostics } = parse(text);
  const errors = diagnostics.filter((diagnostic) => diagnostic.severity === "error");
  expect(playbook === undefined).toBe(errors.length > 0);
  for (const { line, column } of diagnostics) {
    expect(line).toBeGreaterThanOrEqual(1);
    expect(column).toBeGreaterThanOrEqual(1);
  }
}

test("the sample itself has no errors", () => {
  expect(parse(SAMPLE).diagnostics.filter(({ severity }) => severity === "error")).toEqual([]);
});

test("any text gets an answer", () => {
  fc.assert(fc.property(fc.string({ maxLength: 200 }), check), OPTIONS);
});

test("a playbook with pieces cut out, doubled or replaced gets an answer", () => {
  const edit = fc.record({
    at: fc.nat(SAMPLE.length),
    length: fc.nat(30),
    text: fc.oneof(
      fc.constantFrom(
        "",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "\n",
        "&a ",
        "*a",
        "<<: ",
        "null",
        "{{",
        "'",
        "|",
        "\t",
      ),
      fc.string({ maxLength: 5 }),
    ),
  });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      check(
        edits.reduce(
          (text, { at, length, text: piece }) =>
            text.slice(0, at) + piece + text.slice(at + length),
          SAMPLE,
        ),
      );
    }),
    OPTIONS,
  );
});

/** Every part of the sample in turn becomes something else. */
const KEYS = [...new Set(SAMPLE.match(/\w+(?=:)/g))];

test("a playbook with values of the wrong shape gets an answer", () => {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.dictionary(fc.constantFrom(...KEYS), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 4 }),
  );
  fc.assert(
    fc.property(fc.constantFrom(...KEYS), value, (key, wrong) => {
      const inline = JSON.stringify(wrong);
      check(
        SAMPLE.replace(new RegExp(`\\b${key}: (?:"[^"]*"|[\\w./]+)`), () => `${key}: ${inline}`),
      );
    }),
    OPTIONS,
  );
});

test("a map of known keys with any values gets an answer", () => {
  const part = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom(
        "a",
        "start",
        "{{ x }}",
        "{{ x",
        "noop",
        "python",
        "retry",
        1,
        -1,
        null,
        true,
      ),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...KEYS, "<<", "args", "tool", "else"), tie("value"), {
        maxKeys: 5,
      }),
    ),
  })).value;
  fc.assert(
    fc.property(part, part, (step, other) => {
      const document = {
        apiVersion: "noetl.io/v2",
        kind: "Playbook",
        metadata: { path: "x" },
        workbook: [other],
        workflow: [step, { step: "b", tool: step, next: other, loop: other }],
      };
      check(stringify(document));
    }),
    OPTIONS,
  );
});
