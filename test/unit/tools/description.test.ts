/** Every tool's description says what is so. */
import { describe, expect, test } from "bun:test";
import { parse as readYaml, stringify } from "yaml";
import type { JsonObject } from "../../../src/core/json.ts";
import { isJsonObject } from "../../../src/core/json.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import { checkWritten } from "../../../src/dsl/tool-check.ts";
import { findField, SHARED_FAILURES } from "../../../src/dsl/tool-description.ts";
import { toolSchema, viewTool } from "../../../src/dsl/tool-schema.ts";
import { FAILURE_KINDS } from "../../../src/engine/failure.ts";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";

const KINDS = [...KNOWN_TOOL_KINDS.values()];

describe.each(KINDS.map((description) => [description.kind, description] as const))(
  "%s",
  (kind, description) => {
    test("its example is a task without any diagnostic", () => {
      const tool: unknown = readYaml(description.example);
      expect(tool).toMatchObject({ kind });
      const { diagnostics } = parsePlaybook(documentOf(tool), { knownTools: KNOWN_TOOL_KINDS });
      expect(diagnostics).toEqual([]);
    });

    test("other names lead to fields, defaults are values that fit", () => {
      for (const name of Object.keys(description.fields)) {
        const field = findField(description.fields, name);
        expect([name, field?.about]).toEqual([name, expect.stringMatching(/\w/)]);
        const isSentence = typeof field?.default === "string" && field.default.includes(" ");
        const value = isSentence ? null : (field?.default ?? null);
        const problems = checkWritten(
          { ...description, needs: [], check: () => [] },
          { [name]: value },
        );
        expect(problems.filter(({ field: owner }) => owner === name)).toEqual([]);
      }
    });

    test("failures are kinds that there are, summaries are one line", () => {
      const kinds = Object.keys({ ...SHARED_FAILURES, ...description.failures });
      const known: readonly string[] = [...FAILURE_KINDS, "…"];
      expect(kinds.filter((name) => !known.includes(name))).toEqual([]);
      expect(description.summary).toMatch(/^[^\n]{10,110}$/);
    });

    test("its view is JSON with a schema that asks for what it needs", () => {
      const view = viewTool(description);
      expect(JSON.parse(JSON.stringify(view))).toEqual(view);
      const { required, allOf, properties } = toolSchema(description);
      expect(required).toEqual(["kind"]);
      expect(Array.isArray(allOf) ? allOf.length : 0).toBe(description.needs?.length ?? 0);
      const names = isJsonObject(properties) ? Object.keys(properties) : [];
      expect(names).toEqual(expect.arrayContaining(Object.keys(description.fields)));
    });
  },
);

/** With the workbook and keychain that examples speak of. */
function documentOf(tool: unknown): string {
  return stringify({
    apiVersion: "noetl.io/v2",
    kind: "Playbook",
    metadata: { path: "tests/example" },
    workbook: [{ name: "fetch_weather", tool: { kind: "noop" } }],
    workflow: [{ step: "a", tool }],
  });
}

test("a schema takes templates wherever a text is none", () => {
  const http = KNOWN_TOOL_KINDS.get("http");
  const { properties } = http === undefined ? {} : toolSchema(http);
  const { method, headers, paginate } = properties as Readonly<Record<string, JsonObject>>;
  const template = { type: "string", pattern: "\\{[{%]" };
  expect(method?.["anyOf"]).toEqual([{ type: "string" }, { type: "null" }]);
  expect(headers?.["anyOf"]).toEqual([{ type: "object" }, template, { type: "null" }]);
  expect(paginate?.["description"]).toContain("all pages");
});
