import { expect, test } from "bun:test";
import { junitReport } from "../../../src/testing/junit.ts";
import { readTestFile } from "../../../src/testing/read-test.ts";

function problemsOf(text: string): readonly string[] {
  return readTestFile(text).diagnostics.map(({ line, code }) => `${line} ${code}`);
}

test("everything that is wrong with a file of tests is said, with its line", () => {
  const text = `playbook: a.yaml
tests:
  - name: one
    stub: []
    stubs:
      - {step: a}
      - {result: 1}
      - {step: a, result: 1, error: x}
      - {step: a, error: {kind: sad}}
    expect: {state: done, status: odd, steps: {a: {visit: 1}}}
  - name: one
    expect: {}
  - name: two
    now: someday
`;
  expect(problemsOf(text)).toEqual([
    "4 FIELD_UNKNOWN",
    "6 STUB_INVALID",
    "7 STUB_INVALID",
    "8 STUB_INVALID",
    "9 ERROR_KIND_UNKNOWN",
    "10 FIELD_UNKNOWN",
    "10 STATUS_UNKNOWN",
    "10 FIELD_UNKNOWN",
    "11 TEST_DUPLICATE",
    "13 EXPECT_MISSING",
    "14 TIME_INVALID",
  ]);
  expect(problemsOf("tests: []")).toEqual(["1 PLAYBOOK_MISSING", "1 TESTS_MISSING"]);
  expect(problemsOf("- 1")).toEqual(["1 TEST_INVALID"]);
  expect(problemsOf("a: [")[0]).toContain("YAML");
});

test("defaults are shared; a test's own stubs and fields come before them", () => {
  const { file } = readTestFile(`playbook: a.yaml
defaults:
  payload: {a: 1, b: 1}
  live: [python]
  stubs: [{kind: http, result: 0}]
tests:
  - name: one
    payload: {b: 2}
    live: [start]
    stubs: [{step: a, result: null, delay: 2m}]
    expect: {error: null}
`);
  const [one] = file?.tests ?? [];
  expect(one).toMatchObject({
    payload: { a: 1, b: 2 },
    stubs: [
      { step: "a", number: 0, delayMs: 120_000, answers: [{ kind: "result", value: null }] },
      { kind: "http", number: 1 },
    ],
    nowMs: Date.UTC(2026, 0, 1),
    expect: { status: "FAILED", error: { value: null } },
  });
  expect([...(one?.live ?? [])].sort()).toEqual(["python", "start"]);
});

test("a report in JUnit's form has what failed, in texts that XML can hold", () => {
  const base = {
    line: 1,
    rehearsal: undefined,
    durationMs: 1500,
    problem: undefined,
    differences: [],
  };
  const report = junitReport([
    {
      path: "a.test.yaml",
      problem: undefined,
      tests: [
        { ...base, name: "good", outcome: "passed" },
        {
          ...base,
          name: "<bad>",
          outcome: "failed",
          differences: [{ path: "result", expected: '"a"', actual: "\u0007b & c" }],
        },
        { ...base, name: "odd", outcome: "error", problem: "no stub" },
      ],
    },
  ]);
  expect(report).toContain('tests="3" failures="1" errors="1" time="4.500"');
  expect(report).toContain('<testcase classname="a.test.yaml" name="good" time="1.500"/>');
  expect(report).toContain('name="&lt;bad&gt;"');
  expect(report).toContain("result: expected &quot;a&quot;, got b &amp; c</failure>");
  expect(report).toContain('<error message="no stub">');
});
