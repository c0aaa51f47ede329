/** Every row of src/dsl/README.md: its sample is parsed, and gives just the diagnostics it names. */
import { describe, expect, test } from "bun:test";
import { renderValue } from "../../../src/template/render.ts";
import type { Scope } from "../../../src/template/scope.ts";
import { diagnosticsOf } from "./language/read.ts";
import type { Row } from "./language/row.ts";
import { titleOf } from "./language/row.ts";
import { TEMPLATE_ROWS } from "./language/template-rows.ts";
import { LANGUAGE } from "./language.ts";

describe("fields", () => {
  test.each(LANGUAGE.map((row): [string, Row] => [titleOf(row), row]))("%s", (_title, row) => {
    expect(Object.keys(row.sample)).toEqual(expect.arrayContaining(row.fields.split(" ")));
    const diagnostics = diagnosticsOf(row);
    const codes = [...new Set(diagnostics.map(({ code }) => code))].sort();
    expect(codes).toEqual([...(row.finds ?? [])].sort());
    const isRefused = diagnostics.some(({ severity }) => severity === "error");
    expect(isRefused).toBe(row.fate === "refused");
  });
});

const SCOPE: Scope = {
  names: { keychain: { api: { token: "secret" } } },
  resolved: new Map(),
  nowMs: 0,
};

describe("templates", () => {
  test.each(TEMPLATE_ROWS.map((row) => [`${row.group} ${row.name}`, row] as const))(
    "%s",
    (_title, { template, gives }) => {
      expect(renderValue(template, SCOPE)).toEqual(gives);
    },
  );
});
