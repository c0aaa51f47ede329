/** Reads a file of tests, with positions for everything that is wrong. Never throws on any text. */
import { parseInstant } from "../core/instant.ts";
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Diagnostic } from "../dsl/diagnostic.ts";
import { readDuration } from "../dsl/policy.ts";
import { Fields, Report } from "../dsl/report.ts";
import { readYaml } from "../dsl/yaml.ts";
import { readExpectation } from "./read-expectation.ts";
import { readStub } from "./read-stub.ts";
import { refuseOthers, textMap } from "./strict-fields.ts";
import type { Stub, TestCase, TestFile, TestSignal } from "./test-case.ts";

export interface ReadTestFile {
  /** Absent when there are errors. */
  readonly file?: TestFile;
  readonly diagnostics: readonly Diagnostic[];
}

const ROOT_KEYS = ["playbook", "playbooks", "defaults", "tests"];
const SHARED_KEYS = [
  "payload",
  "stubs",
  "live",
  "signals",
  "cancel",
  "env",
  "keychain",
  "credentials",
  "now",
];
/** Tests run at the same time each time. */
const NOW_DEFAULT_MS = Date.UTC(2026, 0, 1);

export function readTestFile(text: string): ReadTestFile {
  const source = readYaml(text);
  const report = new Report(source);
  if (source.value === undefined) {
    return { diagnostics: report.sorted() };
  }
  if (!isJsonObject(source.value)) {
    report.error("TEST_INVALID", "", "a test file is a map with playbook and tests");
    return { diagnostics: report.sorted() };
  }
  const root = new Fields(report, source.value, "");
  const file = readFile(root, (path) => source.locate(path).line);
  const diagnostics = report.sorted();
  return report.hasErrors ? { diagnostics } : { file, diagnostics };
}

type LineOf = (path: string) => number;

function readFile(root: Fields, lineOf: LineOf): TestFile {
  refuseOthers(root, ROOT_KEYS);
  const playbook = root.text("playbook") ?? "";
  if (playbook === "") {
    root.error("PLAYBOOK_MISSING", "playbook", '"playbook" names the file to test');
  }
  const defaults = root.fields("defaults");
  refuseOthers(defaults, SHARED_KEYS);
  const shared = {
    fields: defaults,
    stubs: readStubs(defaults, lineOf),
    signals: readSignals(defaults),
  };
  const items = root.list("tests");
  if (items.length === 0) {
    root.error("TESTS_MISSING", "tests", '"tests" must hold at least one test');
  }
  const tests = items.map((item, index) => {
    const fields = Fields.of(root.report, item, `${root.at("tests")}[${index}]`);
    return readTest(fields, shared, lineOf);
  });
  checkNames(root, tests);
  return {
    playbook,
    playbooks: root.has("playbooks") ? root.textList("playbooks") : undefined,
    tests,
  };
}

function checkNames(root: Fields, tests: readonly TestCase[]): void {
  for (const [index, { name }] of tests.entries()) {
    if (tests.findIndex((other) => other.name === name) !== index) {
      root.report.error(
        "TEST_DUPLICATE",
        `tests[${index}].name`,
        `another test is named "${name}"`,
      );
    }
  }
}

/** What all tests of a file share. */
interface Shared {
  readonly fields: Fields;
  readonly stubs: readonly Stub[];
  readonly signals: readonly TestSignal[];
}

function readTest(fields: Fields, shared: Shared, lineOf: LineOf): TestCase {
  const { fields: defaults } = shared;
  refuseOthers(fields, ["name", "expect", "desc", ...SHARED_KEYS]);
  const name = fields.text("name") ?? "";
  if (name === "") {
    fields.error("NAME_MISSING", "name", "a test needs a name");
  }
  // A test's own stubs come before the shared ones.
  const stubs = [...readStubs(fields, lineOf), ...shared.stubs];
  return {
    name,
    line: lineOf(fields.path),
    payload: mergedMap(fields, defaults, "payload"),
    stubs: stubs.map((stub, number) => ({ ...stub, number })),
    live: new Set([...fields.textList("live"), ...defaults.textList("live")]),
    signals: [...shared.signals, ...readSignals(fields)],
    cancel: readCancel(fields.has("cancel") ? fields : defaults),
    env: textMap(mergedMap(fields, defaults, "env")),
    keychain: mergedMap(fields, defaults, "keychain"),
    credentials: mergedMap(fields, defaults, "credentials"),
    nowMs: readNow(fields.has("now") ? fields : defaults),
    expect: readExpectation(fields),
  };
}

function readStubs(fields: Fields, lineOf: LineOf): readonly Stub[] {
  return fields.list("stubs").map((item, index) => {
    const stub = Fields.of(fields.report, item, `${fields.at("stubs")}[${index}]`);
    return readStub(stub, lineOf(stub.path));
  });
}

function readSignals(fields: Fields): readonly TestSignal[] {
  return fields.list("signals").map((item, index) => {
    const signal = Fields.of(fields.report, item, `${fields.at("signals")}[${index}]`);
    refuseOthers(signal, ["name", "payload", "after"]);
    const name = signal.text("name") ?? "";
    if (name === "") {
      signal.error("NAME_MISSING", "name", "a signal needs a name");
    }
    return {
      name,
      payload: signal.map["payload"] ?? null,
      afterMs: readDuration(signal, "after") ?? 0,
    };
  });
}

function readCancel(fields: Fields): TestCase["cancel"] {
  if (!fields.has("cancel")) {
    return undefined;
  }
  const cancel = fields.fields("cancel");
  refuseOthers(cancel, ["after", "reason"]);
  return {
    afterMs: readDuration(cancel, "after") ?? 0,
    reason: cancel.text("reason") ?? "cancelled by the test",
  };
}

function readNow(fields: Fields): number {
  const text = fields.text("now");
  const nowMs = text === undefined ? NOW_DEFAULT_MS : parseInstant(text);
  if (nowMs === undefined) {
    fields.error("TIME_INVALID", "now", "now must be a time such as 2026-01-31T08:00:00Z");
  }
  return nowMs ?? NOW_DEFAULT_MS;
}

function mergedMap(fields: Fields, defaults: Fields, key: string): JsonObject {
  return { ...defaults.fields(key).map, ...fields.fields(key).map };
}
