import { expect, test } from "bun:test";
import { join } from "node:path";
import { referenceTable, withReference } from "../../../src/config/reference.ts";
import { ROLES } from "../../../src/config/tables.ts";

test("the table of options in README.md is current: else run `bun run docs`", async () => {
  const readme = await Bun.file(join(import.meta.dir, "../../../README.md")).text();
  expect(withReference(readme, ROLES)).toBe(readme);
});

test("referenceTable() names each variable once, with all roles that read it", () => {
  const rows = referenceTable(ROLES).split("\n").slice(2);
  const names = rows.map((row) => row.split("|")[1]?.trim());
  expect(new Set(names).size).toBe(names.length);
  const natsUrl = rows.find((row) => row.includes("`NATS_URL`"));
  expect(natsUrl).toContain("server, worker, up");
});
