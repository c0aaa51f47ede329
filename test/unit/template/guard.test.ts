import { expect, test } from "bun:test";
import type { Json } from "../../../src/core/json.ts";
import { evaluateGuard } from "../../../src/template/render.ts";
import type { Scope } from "../../../src/template/scope.ts";

const SCOPE: Scope = {
  names: { status: "error", count: 0, no: "No", empty: {}, list: [0], text: "False " },
  resolved: new Map(),
  nowMs: 0,
};

test.each<[Json, boolean]>([
  ["{{ status == 'error' }}", true],
  ["status == 'error'", true],
  ["{{ status == 'ok' }}", false],
  ["not count", true],
  ["{{ count }}", false],
  ["{{ list }}", true],
  ["{{ empty }}", false],
  ["{{ nothing.at.all }}", false],
  ["{{ no }}", false],
  ["{{ text }}", false],
  ["{{ 'off' }}", false],
  ["{{ 'None' }}", false],
  ["{{ 'NULL' }}", false],
  ["{{ '0' }}", false],
  ["{{ '{}' }}", false],
  ["{{ '[]' }}", false],
  ["{{ 'yes' }}", true],
  ["{% if count %}{% else %}true{% endif %}", true],
  ["{% if count %}true{% endif %}", false],
  ["", false],
  ["true", true],
  ["false", false],
  [true, true],
  [false, false],
  [1, true],
  [0, false],
  [null, false],
  [[], false],
])("the guard %p is %p", (guard, expected) => {
  expect(evaluateGuard(guard, SCOPE)).toBe(expected);
});
