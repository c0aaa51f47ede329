/** Results of tests in the XML form of JUnit, which CI systems read. */
import type { FileResult, TestResult } from "./run-tests.ts";

export function junitReport(results: readonly FileResult[]): string {
  const suites = results.map(suite).join("\n");
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n${suites}\n</testsuites>\n`;
}

function suite({ path, problem, tests }: FileResult): string {
  const cases =
    problem === undefined
      ? tests.map((test) => testCase(path, test))
      : [element({ file: path, name: path, seconds: 0 }, "error", problem.message, "")];
  const failures = tests.filter(({ outcome }) => outcome === "failed").length;
  const errors = tests.filter(({ outcome }) => outcome === "error").length;
  const seconds = tests.reduce((sum, { durationMs }) => sum + durationMs, 0) / 1000;
  const count = problem === undefined ? errors : 1;
  return [
    `  <testsuite name="${xmlText(path)}" tests="${cases.length}" failures="${failures}" errors="${count}" time="${seconds.toFixed(3)}">`,
    ...cases,
    "  </testsuite>",
  ].join("\n");
}

interface Place {
  readonly file: string;
  readonly name: string;
  readonly seconds: number;
}

function testCase(
  file: string,
  { name, outcome, differences, problem, durationMs }: TestResult,
): string {
  const place = { file, name, seconds: durationMs / 1000 };
  if (outcome === "passed") {
    return `    <testcase classname="${xmlText(file)}" name="${xmlText(name)}" time="${place.seconds.toFixed(3)}"/>`;
  }
  const [first] = differences;
  const text = differences.map(
    ({ path, expected, actual }) => `${path}: expected ${expected}, got ${actual}`,
  );
  return outcome === "failed"
    ? element(
        place,
        "failure",
        `${first?.path ?? ""} is not ${first?.expected ?? ""}`,
        text.join("\n"),
      )
    : element(place, "error", problem ?? "", "");
}

function element(place: Place, kind: "failure" | "error", message: string, text: string): string {
  const { file, name, seconds } = place;
  return [
    `    <testcase classname="${xmlText(file)}" name="${xmlText(name)}" time="${seconds.toFixed(3)}">`,
    `      <${kind} message="${xmlText(message)}">${xmlText(text)}</${kind}>`,
    "    </testcase>",
  ].join("\n");
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "\n": "&#10;",
};

/** Without the control characters that XML cannot hold. */
function xmlText(text: string): string {
  return [...text]
    .filter((char) => char >= " " || char === "\n" || char === "\t")
    .map((char) => ENTITIES[char] ?? char)
    .join("");
}
