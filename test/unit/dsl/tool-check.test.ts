/** The one check of a task's fields: of what a document says, and of what templates have become. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { checkRendered, checkWritten, withTypes } from "../../../src/dsl/tool-check.ts";
import type { ValueType } from "../../../src/dsl/tool-description.ts";
import { describeTool, toolsNamed } from "../../support/tools.ts";
import { documentOf, findings, parse } from "./document.ts";

const TOOL = describeTool("probe", {
  needs: [{ oneOf: ["host", "address"], text: "a host" }],
  fields: {
    host: { type: "scalar", about: "where" },
    address: { sameAs: "host" },
    port: { type: "integer", about: "port", minimum: 1 },
    mode: { type: "text", about: "how", choices: ["soft", "hard"] },
    files: { type: ["list", "map"], about: "what" },
    code: { type: "text", about: "program", holds: "code" },
    old: { type: "text", about: "nothing", isIgnored: true },
  },
  check: ({ mode, port }) => (mode === "hard" && port === 1 ? ["`mode` hard needs a port"] : []),
});

const rendered = (config: JsonObject): readonly string[] =>
  checkRendered(TOOL, { host: "h", ...config }).map(({ message }) => message);
const written = (config: JsonObject): readonly string[] =>
  checkWritten(TOOL, { host: "h", ...config }).map(({ message }) => message);

describe("values", () => {
  test.each<[ValueType, readonly Json[], readonly Json[]]>([
    ["any", [1, "x", [], {}, false], []],
    ["boolean", [true, false, "true", "False"], ["yes", 0, []]],
    ["duration", [0, 1.5, "30s", "1h30m", "2"], ["soon", -1, true, []]],
    ["integer", [1, -3, "12", " 7 "], [1.5, "x", "1.5", true, []]],
    ["list", [[], [1]], [{}, "x", 1]],
    ["map", [{}, { a: 1 }], [[], "x", 1]],
    ["number", [1, 1.5, "1e3", "2"], ["x", true, [], {}]],
    ["scalar", ["x", 1, true], [[], {}]],
    ["text", ["x", "1", 1, true], [[], {}]],
    ["time", ["2026-01-31", "2026-01-31T08:00:00Z", 0], ["soon", true, []]],
  ])("of type %s", (type, good, bad) => {
    const tool = describeTool("probe", { fields: { it: { type, about: "it" } } });
    const isFine = (it: Json): boolean => checkRendered(tool, { it }).length === 0;
    expect(good.filter((value) => !isFine(value))).toEqual([]);
    expect(bad.filter(isFine)).toEqual([]);
    expect([null, ""].every(isFine)).toBe(true);
  });

  test("tools get the types that they want", () => {
    const tool = describeTool("probe", {
      fields: {
        flag: { type: "boolean", about: "flag" },
        key: { type: "text", about: "key" },
        last: { type: ["boolean", "text"], about: "last" },
        port: { type: "scalar", about: "port" },
        name: { sameAs: "key" },
      },
    });
    const config = { flag: "False", key: 7, name: true, last: "x", port: 1, other: 2 };
    const wanted = { flag: false, key: "7", name: "true", last: "x", port: 1, other: 2 };
    expect(withTypes(tool, config)).toEqual(wanted);
    expect(withTypes(tool, wanted)).toBe(wanted);
  });

  test("messages say what is wanted and what is there", () => {
    expect(rendered({ port: "abc", files: 3 })).toEqual([
      '`port` must be a whole number from 1 on, not "abc"',
      "`files` must be a list or a map, not 3",
    ]);
    expect(rendered({ port: 0 })).toEqual(["`port` must be a whole number from 1 on, not 0"]);
    expect(rendered({ mode: "sofd" })).toEqual([
      '`mode` must be one of soft, hard; did you mean "soft"?',
    ]);
    expect(rendered({ code: [`${"x".repeat(100)}`] })[0]).toHaveLength(88);
  });

  test("fields without effect, and fields of nobody, are not looked at", () => {
    expect(rendered({ old: 5, unknown: 5 })).toEqual([]);
  });
});

describe("needs", () => {
  test("any of the names will do, if there is something", () => {
    const lacks = (config: JsonObject) => checkRendered(TOOL, config).map(({ code }) => code);
    expect(lacks({ address: "x" })).toEqual([]);
    for (const host of [null, "", "  ", [], [" "]] as const) {
      expect(lacks({ host })).toContain("TOOL_FIELD_MISSING");
    }
    expect(checkWritten(TOOL, { host: "{{ workload.host }}" })).toEqual([]);
  });
});

describe("a tool's own check", () => {
  test("is asked when needs and types are met, and names its field", () => {
    expect(checkRendered(TOOL, { host: "h", mode: "hard", port: 1 })).toEqual([
      { code: "TOOL_INVALID", field: "mode", message: "`mode` hard needs a port" },
    ]);
    expect(rendered({ mode: "hard", port: "x" })).toHaveLength(1);
  });

  test("is asked at registration only if there is no template; a program is none", () => {
    expect(written({ mode: "hard", port: 1 })).toHaveLength(1);
    expect(written({ mode: "hard", port: 1, files: ["{{ x }}"] })).toEqual([]);
    expect(written({ mode: "hard", port: 1, code: "f'{{x}}'\n" })).toHaveLength(1);
  });
});

describe("templates", () => {
  test("are not judged as they are written, and are as what they become", () => {
    expect(written({ port: "{{ workload.port }}", files: "{% if x %}1{% endif %}" })).toEqual([]);
    expect(rendered({ port: "{{ workload.port }}" })).toHaveLength(1);
  });

  test("without them both checks say the same", () => {
    const names = [...Object.keys(TOOL.fields), "auth", "timeout", "unknown"];
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), fc.jsonValue()), (config) => {
        fc.pre(!JSON.stringify(config).includes("{{") && !JSON.stringify(config).includes("{%"));
        fc.pre(!JSON.stringify(config).includes("{#"));
        const given = config as JsonObject;
        expect(checkWritten(TOOL, given)).toEqual(checkRendered(TOOL, given));
      }),
    );
  });
});

describe("at registration", () => {
  test.each([
    ["{kind: http, url: x, method: [5]}", "TOOL_FIELD_INVALID workflow[0].tool.method 5"],
    ["{kind: http, url: x, files: 3}", "TOOL_FIELD_INVALID workflow[0].tool.files 5"],
    ["{kind: http, url: x, timeout: abc}", "DURATION_INVALID workflow[0].tool.timeout 5"],
    ["{kind: http, url: ' '}", "TOOL_FIELD_MISSING workflow[0].tool 5"],
    ["{kind: http, url: x, paginate: {mode: all}}", "TOOL_INVALID workflow[0].tool.paginate 5"],
    ["{kind: nats, operation: kv_gt}", "TOOL_FIELD_INVALID workflow[0].tool.operation 5"],
    ["{kind: nats, operation: kv_get, bucket: b}", "TOOL_INVALID workflow[0].tool 5"],
    ["{kind: python, code: x, env: [A]}", "TOOL_FIELD_INVALID workflow[0].tool.env 5"],
    ["{kind: wait, duration: soon}", "DURATION_INVALID workflow[0].tool.duration 5"],
    ["{kind: playbook, path: [p]}", "TOOL_FIELD_INVALID workflow[0].tool.path 5"],
  ])("%s is refused", (tool, finding) => {
    expect(findings(documentOf(`- {step: a, tool: ${tool}}`), "error")).toEqual([finding]);
  });

  test("fields of a pipeline's tasks and below spec are checked too", () => {
    const text = documentOf(`- step: a
  tool:
    - first: {kind: http, url: x, spec: {headers: none}}`);
    expect(findings(text, "error")).toEqual([
      "TOOL_FIELD_INVALID workflow[0].tool[0].first.headers 7",
    ]);
  });

  test("a kind that only its name is known of takes anything", () => {
    const { diagnostics } = parse(documentOf("- {step: a, tool: {kind: container, image: [1.5]}}"));
    expect(diagnostics.map(({ code }) => code)).toEqual(["TOOL_FIELD_INVALID"]);
    expect(checkWritten(toolsNamed("novel").get("novel") ?? TOOL, { any: [1] })).toEqual([]);
  });
});
