import { expect, test } from "bun:test";
import { readUiSchema } from "../../../src/dsl/ui-schema.ts";

test("readUiSchema() makes fields of the workload, with comments as labels", () => {
  const schema = readUiSchema(`
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: Load, path: a/b, exposed_in_ui: false}
workload:
  # First day
  # of the week
  day: monday
  batch_size: 10 # Rows at a time
  ratio: 0.5
  is_dry: true
  hosts: [a]
  db_password:
  target:
    # Where to
    table: t
    deep: {a: {b: {c: 1}}}
workflow: [{step: start}]
`);
  expect([schema.title, schema.isExposed]).toEqual(["Load", false]);
  expect(schema.fields.map(({ name, type, label }) => [name, type, label])).toEqual([
    ["day", "string", "First day"],
    ["batch_size", "integer", "Rows at a time"],
    ["ratio", "number", "Ratio"],
    ["is_dry", "boolean", "Is dry"],
    ["hosts", "array", "Hosts"],
    ["db_password", "string", "Db password"],
    ["target", "object", "Target"],
  ]);
  expect(schema.fields[0]?.description).toBe("First day\nof the week");
  expect(schema.fields[5]).toMatchObject({ isSecret: true, default: null });
  expect(schema.fields[6]?.fields?.map(({ label }) => label)).toEqual(["Where to", "Deep"]);
});

test("readUiSchema() of a document without a workload has no fields", () => {
  expect(readUiSchema("metadata: {path: x}\nworkload:\n")).toMatchObject({
    title: "x",
    fields: [],
  });
  expect(readUiSchema("- 1")).toMatchObject({ title: "", fields: [], isExposed: true });
});
