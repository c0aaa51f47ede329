import { describe, expect, test } from "bun:test";
import { documentOf, findings, parse } from "./document.ts";

const NOOP = "{kind: noop}";

describe("errors of the document", () => {
  test.each<[string, readonly string[]]>([
    ["", ["DOCUMENT_INVALID  1"]],
    ["just text", ["DOCUMENT_INVALID  1"]],
    ["a: [1", ["YAML_INVALID  1"]],

    ["a: [*nothing", ["YAML_INVALID  1"]],
    [
      "a: .inf",
      [
        "VALUE_NOT_JSON a 1",
        "API_VERSION_UNKNOWN apiVersion 1",
        "KIND_UNKNOWN kind 1",
        "METADATA_INVALID metadata 1",
        "WORKFLOW_MISSING workflow 1",
      ],
    ],
    [`a: ${"[".repeat(100)}${"]".repeat(100)}`, ["DOCUMENT_TOO_LARGE  1"]],
    [`a: &a [${"1,".repeat(500)}]\nb: [${"*a,".repeat(500)}]`, ["DOCUMENT_TOO_LARGE  1"]],
    ["x".repeat(3_000_000), ["DOCUMENT_TOO_LARGE  1"]],
    [
      `apiVersion: noetl.io/v1\nkind: Playbok\nmetadata: {name: x}\nworkflow: []`,
      ["API_VERSION_UNKNOWN apiVersion 1", "KIND_UNKNOWN kind 2", "WORKFLOW_MISSING workflow 4"],
    ],
    [
      `apiVersion: noetl.io/v10\nkind: Playbook\nmetadata: {}\nworkload: [1]\nworkflow:\n- {step: a, tool: ${NOOP}}\nkeychain:\n- kind: bearer`,
      ["METADATA_INVALID metadata 3", "FIELD_NOT_MAP workload 4", "KEYCHAIN_INVALID keychain[0] 8"],
    ],
    [
      `apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: x}\nexecutor:\n  priority: 11\n  spec:\n    entry_step: first\n    timeout: soon\nworkflow:\n- {step: firs, tool: ${NOOP}}`,
      [
        "PRIORITY_INVALID executor.priority 5",
        "ENTRY_UNKNOWN executor.spec.entry_step 7",
        "DURATION_INVALID executor.spec.timeout 8",
      ],
    ],
  ])("%p", (text, expected) => {
    expect([...findings(text, "error")].sort()).toEqual([...expected].sort());
  });

  test("a key that stands twice is named", () => {
    const errors = findings("a: 1\nb: {c: 1, c: 2}\na: 3", "error");
    expect(errors).toContain("KEY_DUPLICATE b.c 2");
    expect(errors).toContain("KEY_DUPLICATE a 3");
  });

  test("an alias of nothing is named", () => {
    expect(findings("a:\n  b: *nothing", "error")).toContain("YAML_INVALID a.b 2");
  });
});

describe("errors of steps", () => {
  test.each<[string, readonly string[]]>([
    [
      `- {step: a, tool: ${NOOP}, next: {arcs: [{step: b}]}}`,
      ["STEP_UNKNOWN workflow[0].next.arcs[0].step 5"],
    ],
    [`- {step: a, tool: ${NOOP}}\n- {step: a, tool: ${NOOP}}`, ["STEP_DUPLICATE workflow[1] 6"]],
    [`- tool: ${NOOP}`, ["STEP_NAME_MISSING workflow[0] 5"]],
    ["- {step: a, tool: []}", ["PIPELINE_EMPTY workflow[0].tool 5"]],
    ["- {step: a, tool: {code: x}}", ["TOOL_KIND_MISSING workflow[0].tool 5"]],
    [
      "- step: a\n  tool:\n    kind: pyton\n    code: x",
      ["TOOL_KIND_UNKNOWN workflow[0].tool.kind 7"],
    ],
    ["- {step: a, tool: {kind: python}}", ["TOOL_FIELD_MISSING workflow[0].tool 5"]],
    [
      "- {step: a, tool: {kind: http, spec: {method: GET}}}",
      ["TOOL_FIELD_MISSING workflow[0].tool 5"],
    ],
    ["- {step: a, tool: {kind: postgres, auth: x}}", ["TOOL_FIELD_MISSING workflow[0].tool 5"]],
    ["- {step: a, tool: {kind: playbook}}", ["TOOL_FIELD_MISSING workflow[0].tool 5"]],
    [
      `- step: a\n  tool:\n  - {name: x, kind: noop}\n  - {name: x, kind: noop}`,
      ["LABEL_DUPLICATE workflow[0].tool[1] 8"],
    ],
    [
      `- {step: a, case: [], when: "x", tool: ${NOOP}}`,
      ["FIELD_REJECTED workflow[0].case 5", "FIELD_REJECTED workflow[0].when 5"],
    ],
    ["- {step: a, tool: {kind: noop, eval: []}}", ["FIELD_REJECTED workflow[0].tool.eval 5"]],
    ["- {step: a, tool: {kind: workbook, name: x}}", ["WORKBOOK_UNKNOWN workflow[0].tool 5"]],
    ["- {step: a, tool: {kind: workbook}}", ["WORKBOOK_UNKNOWN workflow[0].tool 5"]],
    [
      "- {step: a, tool: {kind: noop, timeout: -1}}",
      ["DURATION_INVALID workflow[0].tool.timeout 5"],
    ],
    ["- {step: a, tool: {kind: noop, input: [1]}}", ["FIELD_NOT_MAP workflow[0].tool.input 5"]],
    [
      "- {step: a, tool: {kind: noop, idempotent: 5}}",
      ["FIELD_NOT_BOOLEAN workflow[0].tool.idempotent 5"],
    ],
    [
      `- {step: a, tool: ${NOOP}, spec: {join: some, policy: {failure: no}}}`,
      ["JOIN_UNKNOWN workflow[0].spec.join 5", "FAILURE_UNKNOWN workflow[0].spec.policy.failure 5"],
    ],
    [
      `- {step: a, tool: ${NOOP}, spec: {policy: {admit: {rules: [{when: x}]}}}}`,
      ["RULE_INVALID workflow[0].spec.policy.admit.rules[0] 5"],
    ],
    [
      `- {step: a, tool: ${NOOP}, set: {ctx.: 1}}`,
      ['SET_TARGET_INVALID workflow[0].set["ctx."] 5'],
    ],
    ["- 5", ["FIELD_NOT_MAP workflow[0] 5", "STEP_NAME_MISSING workflow[0] 5"]],
  ])("%p", (workflow, expected) => {
    expect(findings(documentOf(workflow), "error")).toEqual([...expected]);
  });
});

describe("errors of rules, loops, arcs and templates", () => {
  const rules = (text: string) =>
    `- step: a\n  tool:\n    kind: noop\n    spec:\n      policy:\n        rules:\n${text}`;
  const at = "workflow[0].tool.spec.policy.rules[0]";

  test.each<[string, readonly string[]]>([
    [rules("        - then: {do: fail}"), [`RULE_INVALID ${at} 11`]],
    [rules("        - when: x"), [`RULE_INVALID ${at} 11`]],
    [rules("        - {when: x, then: {set: {a: 1}}}"), [`ACTION_MISSING ${at}.then 11`]],
    [rules("        - {when: x, then: {do: retyr}}"), [`ACTION_UNKNOWN ${at}.then.do 11`]],
    [rules("        - {when: '', then: {do: fail}}"), [`GUARD_EMPTY ${at}.when 11`]],
    [rules("        - {when: '{x}', then: {do: fail}}"), [`GUARD_INVALID ${at}.when 11`]],
    [rules("        - {when: 'x ==', then: {do: fail}}"), [`TEMPLATE_SYNTAX ${at}.when 11`]],
    [rules("        - else: {then: {do: jump}}"), [`JUMP_UNKNOWN ${at}.else.then 11`]],
    [rules("        - else: {then: {do: jump, to: b}}"), [`JUMP_UNKNOWN ${at}.else.then.to 11`]],
    [
      rules("        - else: {then: {do: jump, to: previous}}"),
      [`JUMP_UNKNOWN ${at}.else.then.to 11`],
    ],
    [
      rules("        - else: {then: {do: retry, attempts: many}}"),
      [`FIELD_NOT_INTEGER ${at}.else.then.attempts 11`],
    ],
    [
      rules("        - else: {then: {do: retry, backoff: cubic}}"),
      [`BACKOFF_UNKNOWN ${at}.else.then.backoff 11`],
    ],
    [
      rules("        - else: {then: {do: retry, delay: soon}}"),
      [`DURATION_INVALID ${at}.else.then.delay 11`],
    ],
    [`- {step: a, tool: ${NOOP}, loop: {iterator: x}}`, ["LOOP_SOURCE_INVALID workflow[0].loop 5"]],
    [`- {step: a, tool: ${NOOP}, loop: {in: [1]}}`, ["LOOP_ITERATOR_MISSING workflow[0].loop 5"]],
    [
      `- {step: a, tool: ${NOOP}, loop: {in: [1], iterator: x, spec: {mode: fast, max_in_flight: 0, policy: {exec: far}}}}`,
      [
        "LOOP_MODE_UNKNOWN workflow[0].loop.spec.mode 5",
        "FIELD_NOT_INTEGER workflow[0].loop.spec.max_in_flight 5",
        "LOOP_POLICY_INVALID workflow[0].loop.spec.policy.exec 5",
      ],
    ],
    [
      `- {step: a, tool: ${NOOP}, loop: {iterator: x, spec: {mode: cursor}}}`,
      ["LOOP_SOURCE_INVALID workflow[0].loop 5"],
    ],
    [
      `- {step: a, tool: ${NOOP}, loop: {iterator: x, in: [1], cursor: {}, spec: {mode: cursor}}}`,
      ["LOOP_SOURCE_INVALID workflow[0].loop.cursor 5", "CURSOR_INVALID workflow[0].loop.cursor 5"],
    ],
    [
      `- {step: a, tool: ${NOOP}, next: {spec: {mode: all, on_no_match: stop}, arcs: [{when: x}]}}`,
      [
        "NEXT_MODE_UNKNOWN workflow[0].next.spec.mode 5",
        "NEXT_INVALID workflow[0].next.spec.on_no_match 5",
        "ARC_INVALID workflow[0].next.arcs[0] 5",
      ],
    ],
    [
      `- {step: a, tool: ${NOOP}, next: {spec: {mode: exclusive}}}`,
      ["NEXT_INVALID workflow[0].next 5"],
    ],
    [
      `- step: a\n  tool:\n    kind: http\n    url: "{{ base"\n    headers: {x: ["{{ y | nope }}"]}`,
      ["TEMPLATE_SYNTAX workflow[0].tool.url 8", "TEMPLATE_SYNTAX workflow[0].tool.headers.x[0] 9"],
    ],
    [
      `- step: a\n  tool: {kind: noop, input: {x: "{% if %}"}}\n  set: {ctx.a: "{{ 1 + }}"}`,
      ["TEMPLATE_SYNTAX workflow[0].tool.input.x 6", 'TEMPLATE_SYNTAX workflow[0].set["ctx.a"] 7'],
    ],
  ])("%p", (workflow, expected) => {
    const errors = findings(documentOf(workflow), "error");
    expect([...errors].sort()).toEqual([...expected].sort());
  });

  test("code is no template, whatever braces it has", () => {
    const code = `- {step: a, tool: {kind: python, code: "x = f'{{ {% {#'"}}`;
    expect(findings(documentOf(code), "error")).toEqual([]);
  });
});

describe("warnings", () => {
  test.each<[string, readonly string[]]>([
    [`- {step: a, tool: ${NOOP}, nxt: b}`, ["FIELD_UNKNOWN workflow[0].nxt 5"]],
    ["- step: a", ["TOOL_MISSING workflow[0] 5"]],
    [`- {step: a, tool: ${NOOP}, next: a}`, ["LEGACY_FORM workflow[0].next 5"]],
    [
      `- {step: a, tool: ${NOOP}, next: {arcs: [{step: a, cond: x, args: {}}]}}`,
      [
        "FIELD_IGNORED workflow[0].next.arcs[0].cond 5",
        "FIELD_IGNORED workflow[0].next.arcs[0].args 5",
      ],
    ],
    [`- {step: a, tool: ${NOOP}}\n- {step: b, tool: ${NOOP}}`, ["STEP_UNREACHABLE workflow[1] 6"]],
    [
      `- {step: a, input: {x: 1}, tool: {kind: python, args: {y: 1}, code: x}}`,
      ["LEGACY_FORM workflow[0].input 5", "LEGACY_FORM workflow[0].tool.args 5"],
    ],
    [`- {step: a, tool: {kind: http, spec: {url: x}}}`, ["LEGACY_FORM workflow[0].tool.spec 5"]],
    [
      `- {step: a, tool: {kind: http, url: x, metod: GET}}`,
      ["FIELD_UNKNOWN workflow[0].tool.metod 5"],
    ],
    [`- {step: a, tool: noop}`, ["LEGACY_FORM workflow[0].tool 5"]],
    [
      `- {step: a, output: {store: {kind: kv}}, tool: ${NOOP}}`,
      ["FIELD_IGNORED workflow[0].output.store 5"],
    ],
    [
      `- {step: a, set: {other.x: 1}, tool: ${NOOP}}`,
      ['SET_TARGET_UNKNOWN workflow[0].set["other.x"] 5'],
    ],
    [
      `- {step: a, tool: ${NOOP}, next: {arcs: [{step: a, when: "{{ x }} == 1"}]}}`,
      ["GUARD_IS_TEXT workflow[0].next.arcs[0].when 5"],
    ],
    [
      `- {step: a, tool: {kind: noop, spec: {policy: {rules: [{else: {do: fail}}, {when: x, then: {do: fail}}]}}}}`,
      [
        "LEGACY_FORM workflow[0].tool.spec.policy.rules[0].else 5",
        "RULE_UNREACHABLE workflow[0].tool.spec.policy.rules[1] 5",
      ],
    ],
    [
      `- {step: a, tool: ${NOOP}, loop: {in: [1], iterator: x, spec: {max_in_flight: 3}}}`,
      ["FIELD_IGNORED workflow[0].loop.spec.max_in_flight 5"],
    ],
  ])("%p", (workflow, expected) => {
    const text = documentOf(workflow);
    expect(findings(text, "error")).toEqual([]);
    expect([...findings(text, "warning")].sort()).toEqual([...expected].sort());
  });
});

test("messages say what was probably meant", () => {
  const text = documentOf(
    "- step: a\n  tool: {kind: pythn, code: x}\n  nxet: {}\n  next: {arcs: [{step: finish_al}]}\n- {step: finish_all, tool: {kind: noop}}",
  );
  const messages = parse(text).diagnostics.map((diagnostic) => diagnostic.message);
  expect(messages.join("\n")).toContain('unknown tool kind "pythn"; did you mean "python"?');
  expect(messages.join("\n")).toContain('unknown field "nxet"; did you mean "next"?');
  expect(messages.join("\n")).toContain('there is no step "finish_al"; did you mean "finish_all"?');
});

test("a field beside the tool is named where the tool lacks it", () => {
  const [error] = parse(
    documentOf("- {step: a, tool: {kind: postgres}, command: SELECT 1}"),
  ).diagnostics;
  expect(error?.message).toBe(
    'postgres needs a command or query; "command" stands beside "tool", move it below',
  );
});

test("diagnostics come in the order of the document, with columns", () => {
  const { diagnostics } = parse(
    documentOf(`- step: a\n  tool: {kind: noop, x: 1}\n  y: 2\n  z: 3`),
  );
  expect(diagnostics.map(({ line, column }) => [line, column])).toEqual([
    [6, 22],
    [7, 3],
    [8, 3],
  ]);
});
