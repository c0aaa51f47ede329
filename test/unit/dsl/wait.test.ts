/** Waits, final steps and limits, as the parser reads them. */
import { describe, expect, test } from "bun:test";
import { parsePlaybook } from "../../../src/dsl/parse.ts";

const HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: a, path: a}\n";

function parse(workflow: string, executor = "") {
  const text = `${HEAD}${executor}workflow:\n${workflow}`;
  const { playbook, diagnostics } = parsePlaybook(text, { knownTools: new Map() });
  return { playbook, codes: diagnostics.map(({ severity, code }) => `${severity} ${code}`) };
}

function parseWait(fields: string) {
  return parse(`- {step: a, tool: {kind: wait, ${fields}}}`);
}

describe("a wait", () => {
  test("takes a duration, a time or a signal, with a limit", () => {
    const { playbook, codes } = parseWait("signal: go, timeout: 5m, on_timeout: continue");
    expect(codes).toEqual([]);
    expect(playbook?.steps[0]?.tasks[0]).toMatchObject({
      kind: "wait",
      timeoutMs: 300_000,
      config: { signal: "go", on_timeout: "continue" },
    });
    for (const fields of [
      "duration: 30",
      "duration: 1h30m",
      "until: 2026-01-31T08:00:00+01:00",
      "until: 1767225600",
      "signal: '{{ name }}', deadline: '{{ later }}', timeout: '{{ limit }}'",
      "signal: go, deadline: 2026-01-31",
    ]) {
      expect(parseWait(fields).codes).toEqual([]);
    }
  });

  test.each([
    ["on_timeout: fail", ["error TOOL_FIELD_MISSING", "warning FIELD_IGNORED"]],
    ["duration: 1, signal: go", ["error WAIT_INVALID"]],
    ["duration: soon", ["error DURATION_INVALID"]],
    ["until: tomorrow", ["error TIME_INVALID"]],
    ["signal: go, deadline: later", ["error TIME_INVALID"]],
    ["signal: go, timeout: later", ["error DURATION_INVALID"]],
    ["signal: go, on_timeout: explode", ["error TOOL_FIELD_INVALID"]],
    ["duration: 1, on_timeout: continue", ["warning FIELD_IGNORED"]],
    ["duration: 1, sleep: 2", ["warning FIELD_UNKNOWN"]],
  ])("with {%s} gives %p", (fields, codes) => {
    expect(parseWait(fields).codes.sort()).toEqual(codes);
  });
});

describe("the final step", () => {
  const FINAL = "executor: {spec: {final_step: z}}\n";

  test("is known, reached without an arc, and leads nowhere by itself", () => {
    const steps = "- {step: a, tool: {kind: noop}}\n- {step: end, tool: {kind: noop}}\n";
    const { playbook, codes } = parse(`${steps}- {step: z, tool: {kind: noop}}`, FINAL);
    expect(codes).toEqual([]);
    expect(playbook?.executor.finalStep).toBe("z");
    expect(playbook?.steps.map(({ next }) => next.arcs.map(({ step }) => step))).toEqual([
      ["end"],
      [],
      [],
    ]);
  });

  test("must exist, and should not be led to", () => {
    expect(parse("- {step: a, tool: {kind: noop}}", FINAL).codes).toEqual(["error FINAL_UNKNOWN"]);
    const steps = "- {step: a, tool: {kind: noop}, next: {arcs: [{step: z}]}}\n";
    expect(parse(`${steps}- {step: z, tool: {kind: noop}}`, FINAL).codes).toEqual([
      "warning FINAL_REACHED",
    ]);
  });
});

describe("the policy of a step", () => {
  const policy = (text: string) =>
    parse(`- {step: a, spec: {policy: {${text}}}, tool: {kind: noop}}`);

  test("limits its time by lifecycle, failure by mode", () => {
    const { playbook, codes } = policy(
      "lifecycle: {timeout_s: 60, deadline_s: 30}, failure: {mode: fail_fast}",
    );
    expect(codes).toEqual([]);
    expect(playbook?.steps[0]).toMatchObject({ timeoutMs: 30_000, failure: "fail_fast" });
  });

  test("admits by every form of rules", () => {
    const admit = (text: string) => policy(`admit: ${text}`).playbook?.steps[0]?.admit;
    const no = { isAllowed: false };
    const rule = { when: "{{ x }}", isAllowed: true };
    expect(admit("x")).toEqual([rule, no]);
    expect(admit("false")).toEqual([{ when: false, isAllowed: true }, no]);
    expect(admit("{mode: exclusive, rules: [{when: x, then: {allow: true}}]}")).toEqual([rule]);
    expect(
      admit("{rules: [{when: x, then: {allow: true}}, {else: {then: {allow: false}}}]}"),
    ).toEqual([rule, no]);
    expect(admit("{rules: [{when: x, then: {allow: true}}, {else: {allow: false}}]}")).toEqual([
      rule,
      no,
    ]);
  });

  test("says what of it has no effect", () => {
    expect(policy("emit: {events: all}").codes).toEqual(["warning FIELD_IGNORED"]);
    expect(policy("lifecycle: {retries: 3}").codes).toEqual(["warning FIELD_UNKNOWN"]);
    expect(policy("failure: {mode: drain, after: 3}").codes).toEqual(["warning FIELD_UNKNOWN"]);
    expect(policy("admit: {mode: inclusive, rules: []}").codes).toEqual(["warning FIELD_IGNORED"]);
  });
});
