/** What is known of a stored value without loading it, from the worker that stores it to the template. */

import { describe, expect, test } from "bun:test";
import { assert } from "../../../src/core/assert.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import type { ScopeData, StepValue } from "../../../src/engine/command.ts";
import { boundedSize, follow, withOutline } from "../../../src/engine/outline.ts";
import { readsOf } from "../../../src/engine/reads.ts";
import { contentRef } from "../../../src/engine/result.ts";
import { buildScope } from "../../../src/engine/scope.ts";
import { presentStored } from "../../../src/engine/stored.ts";
import { evaluateGuard, renderValue } from "../../../src/template/render.ts";
import type { Resolved, ResultRef } from "../../../src/template/scope.ts";
import { isResultRef, RefNeededError, UnreadableRef } from "../../../src/template/scope.ts";
import { toolsNamed } from "../../support/tools.ts";

const SHA = "a".repeat(64);
const $REF = contentRef("42", "start", SHA);

function outlineOf(value: Json, more: Partial<Parameters<typeof withOutline>[1]> = {}): ResultRef {
  const size = JSON.stringify(value).length;
  const type = Array.isArray(value) ? "array" : "object";
  const ref = { $ref: $REF, size, type } as const;
  return withOutline(value, { ref, reads: [], select: [], spareBytes: 4096, ...more });
}

function scopeOf(steps: Record<string, Partial<StepValue>>, resolved: Resolved = new Map()) {
  const full = Object.entries(steps).map(([name, more]) => [
    name,
    { value: null, status: "ok", shape: "task", ...more },
  ]);
  const data = {
    executionId: "42",
    path: "a",
    version: 1,
    workload: {},
    ctx: {},
    steps: Object.fromEntries(full),
  } as unknown as ScopeData;
  return buildScope(data, { nowMs: 0, resolved });
}

const BIG = { status: "fine", count: 3, items: Array(2000).fill({ id: 1, x: "y".repeat(40) }) };

describe("withOutline()", () => {
  test("keeps small fields and refers to large ones", () => {
    expect(outlineOf(BIG)).toEqual({
      $ref: $REF,
      size: JSON.stringify(BIG).length,
      type: "object",
      length: 3,
      fields: {
        status: "fine",
        count: 3,
        items: {
          $ref: `${$REF}#/items`,
          size: JSON.stringify(BIG).length,
          type: "array",
          length: 2000,
        },
      },
    });
  });

  test("keeps what is asked for, however deep, within bounds", () => {
    const value = { a: { b: [{ c: "x".repeat(5000) }, { c: "y".repeat(50_000) }], d: BIG } };
    const reads = [
      ["a", "b", 0, "c"],
      ["a", "b", 1, "c"],
      ["a", "d", "count"],
    ];
    const { fields } = outlineOf(value, { reads, spareBytes: 0 });
    const long = { $ref: `${$REF}#/a/b/1/c`, type: "string", length: 50_000 };
    expect(fields?.["a"]).toMatchObject({
      fields: {
        b: { fields: { 0: { fields: { c: "x".repeat(5000) } }, 1: { fields: { c: long } } } },
        d: { fields: { count: 3 } },
      },
    });
  });

  test("puts selected fields on top by their last name", () => {
    const value = { meta: { total: 7 }, items: BIG.items };
    const { fields } = outlineOf(value, { select: ["meta.total", "data.items", "missing"] });
    expect(fields).toMatchObject({ total: 7, items: { type: "array", length: 2000 } });
    expect(fields).not.toHaveProperty("missing");
  });

  test("says that a map with very many names is not all there", () => {
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`k${n}`, n]));
    const outline = outlineOf(many, { reads: [["k4999"]] });
    expect(outline).toMatchObject({ length: 5000, isPartial: true, fields: { k4999: 4999 } });
    expect(JSON.stringify(outline).length).toBeLessThan(1000);
  });

  test("stays small whatever the value is", () => {
    const wide = Object.fromEntries(
      Array.from({ length: 60 }, (_, n) => [
        `name${n}`,
        { list: BIG.items, text: "z".repeat(900) },
      ]),
    );
    expect(JSON.stringify(outlineOf(wide)).length).toBeLessThan(16_384);
    expect(JSON.stringify(outlineOf(BIG.items)).length).toBeLessThan(300);
  });
});

test("follow() finds what a template's aliases mean in the stored value", () => {
  const http = { status_code: 200, headers: {}, data: { rows: [{ id: 5 }] } };
  expect(follow(http, ["body", "rows", 0, "id"])).toEqual(["data", "rows", 0, "id"]);
  expect(follow(http, ["rows"])).toEqual(["data", "rows"]);
  expect(follow(http, ["data", "data", "rows"])).toEqual(["data", "rows"]);
  expect(follow({ x: 1 }, ["data", "x"])).toEqual(["x"]);
  expect(follow([7, 8], ["data", -1])).toEqual([1]);
  const pipeline = { a: { x: 1, y: 1 }, b: { x: 2 } };
  expect(follow(pipeline, ["x"], true)).toEqual(["b", "x"]);
  expect(follow(pipeline, ["results", "a", "y"], true)).toEqual(["a", "y"]);
  expect(follow(pipeline, ["nope"], true)).toBeUndefined();
});

test("boundedSize() gives up early", () => {
  expect(boundedSize({ a: [1, "x"] }, 100)).toBeGreaterThan(10);
  expect(boundedSize({ a: "x".repeat(200) }, 100)).toBeUndefined();
  expect(boundedSize(Array(1_000_000).fill(0), 100)).toBeUndefined();
});

describe("a template reads from the outline of a step's value", () => {
  const step = { value: outlineOf(BIG) };

  test.each<[string, Json]>([
    ["{{ start.count + 1 }}", 4],
    ["{{ start.data.status }}", "fine"],
    ["{{ start.items | length }}", 2000],
    ["{{ start.items | length > 100 }}", true],
    ["{{ start.items is defined }}", true],
    ["{{ start.nothing is defined }}", false],
    ["{{ start.nothing | default('none') }}", "none"],
    ["{{ start._ref is defined and start._size > 1000 }}", true],
    ["{{ start._store }}", "kv"],
    ["{{ start._uri }}", "noetl://default/default/results/42/start/0/0/1"],
    ["{{ start.items[5000] | default('outside') }}", "outside"],
    ["{% if start.items | count == 2000 %}yes{% endif %}", "yes"],
  ])("%p without loading it", (template, expected) => {
    expect(renderValue(template, scopeOf({ start: step }))).toEqual(expected);
  });

  test.each(["{{ start.items[3].id }}", "{{ start.items | tojson }}", "{{ start.items == [] }}"])(
    "%p needs the part",
    (template) => {
      const scope = scopeOf({ start: step });
      expect(() => renderValue(template, scope)).toThrow(RefNeededError);
    },
  );

  test("a lone path to a large part is a reference to that part", () => {
    const items = renderValue("{{ start.items }}", scopeOf({ start: step }));
    expect(items).toMatchObject({ $ref: `${$REF}#/items`, length: 2000 });
  });

  test("a part is there as soon as the whole is loaded", () => {
    const scope = scopeOf({ start: step }, new Map([[$REF, BIG]]));
    expect(renderValue("{{ start.items[3].id }}", scope)).toBe(1);
    expect(renderValue("{{ start.items | length }}", scope)).toBe(2000);
  });

  test("what may not be loaded fails the template and says why", () => {
    const scope = scopeOf({ start: step }, new Map([[$REF, new UnreadableRef("it is too big")]]));
    expect(renderValue("{{ start.count }}", scope)).toBe(3);
    expect(() => renderValue("{{ start.items[3].id }}", scope)).toThrow("it is too big");
  });

  test("guards take a large part for true without loading it", () => {
    expect(evaluateGuard("start.items", scopeOf({ start: step }))).toBe(true);
    expect(evaluateGuard("{{ start.status == 'fine' }}", scopeOf({ start: step }))).toBe(true);
  });
});

describe("values with references inside", () => {
  const http = { status_code: 200, headers: { a: "b" }, data: { rows: BIG.items, total: 9 } };

  test("of an http call answer by their outline, under all names", () => {
    const scope = scopeOf({ start: { value: outlineOf(http) } });
    expect(renderValue("{{ start.status_code }}", scope)).toBe(200);
    expect(renderValue("{{ [start.data.total, start.body.total, start.total] }}", scope)).toEqual([
      9, 9, 9,
    ]);
    expect(renderValue("{{ start.body.rows | length }}", scope)).toBe(2000);
  });

  test("of a pipeline's tasks show their fields on top, and where the last one is", () => {
    const value = { fetch: outlineOf(BIG), note: { text: "hi", count: 5 } };
    const scope = scopeOf({ start: { value, shape: "pipeline" } });
    expect(renderValue("{{ start.status }}", scope)).toBe("fine");
    expect(renderValue("{{ start.count }}", scope)).toBe(5);
    expect(renderValue("{{ start.results.fetch.count }}", scope)).toBe(3);
    expect(renderValue("{{ start.fetch.items | length }}", scope)).toBe(2000);
    expect(renderValue("{{ start._ref }}", scope)).toBe($REF);
    expect(renderValue("{{ start.missing is defined }}", scope)).toBe(false);
  });

  test("of a loop's items resolve themselves one by one, in order", () => {
    const ref = {
      $ref: contentRef("42", "start", "b".repeat(64)),
      size: 9,
      type: "object",
    } as const;
    const other = outlineOf(BIG, { ref });
    const value = {
      results: [{ x: 1 }, outlineOf(BIG), other],
      stats: { total: 3, succeeded: 3, failed: 0 },
    };
    const scope = scopeOf({ start: { value, shape: "loop" } });
    expect(renderValue("{{ start | length }}", scope)).toBe(3);
    expect(renderValue("{{ start.results | length + 0 }}", scope)).toBe(3);
    expect(renderValue("{{ start.results[1].count }}", scope)).toBe(3);
    expect(renderValue("{{ start[2]._ref }}", scope)).toBe(other.$ref);
    const read = () => renderValue("{{ start.results[2].items[0].id }}", scope);
    expect(read).toThrow(expect.objectContaining({ ref: `${other.$ref}#/items` }));
    const list = renderValue("{{ start.results }}", scope) as readonly Json[];
    expect(list.map(isResultRef)).toEqual([false, true, true]);
  });

  test("of a loop's whole list: its length is known, the rest is loaded once", () => {
    const items = [{ fetch: { n: 0 } }, { fetch: { n: 1 } }];
    const results = { $ref: $REF, size: 9, type: "array", length: 2 };
    const value = { results, stats: { total: 2, succeeded: 2, failed: 0 } };
    const step = { value, shape: "loop", itemShape: "pipeline" } as const;
    const apart = scopeOf({ start: step });
    expect(
      renderValue("{{ [start | length, start.results | length, start.stats.total] }}", apart),
    ).toEqual([2, 2, 2]);
    expect(() => renderValue("{{ start.results[1].n }}", apart)).toThrow(RefNeededError);
    const loaded = scopeOf({ start: step }, new Map([[$REF, items]]));
    expect(
      renderValue("{{ [start.results[1].n, start[0].n, start.data[1].fetch.n] }}", loaded),
    ).toEqual([1, 0, 1]);
    const data = { steps: { start: step } } as unknown as ScopeData;
    expect(presentStored(data, $REF, items)).toEqual([
      { n: 0, fetch: { n: 0 } },
      { n: 1, fetch: { n: 1 } },
    ]);
  });

  test("of a loop over pipelines look like pipelines", () => {
    const value = {
      results: [{ fetch: outlineOf(BIG), note: { text: "hi" } }],
      stats: { total: 1, succeeded: 1, failed: 0 },
    };
    const step = { value, shape: "loop", itemShape: "pipeline" } as const;
    const scope = scopeOf({ start: step });
    expect(renderValue("{{ start.results[0].status ~ start.results[0].text }}", scope)).toBe(
      "finehi",
    );
    expect(renderValue("{{ start.results[0]._ref }}", scope)).toBe($REF);
  });

  test("look as if they had never been stored apart once they are loaded", () => {
    const data = {
      steps: {
        pipe: { value: { fetch: outlineOf(http) }, status: "ok", shape: "pipeline" },
        loop: {
          value: { results: [{ $ref: `${$REF}1`, size: 1, type: "object" }], stats: {} },
          status: "ok",
          shape: "loop",
        },
      },
    } as unknown as ScopeData;
    expect(presentStored(data, $REF, http as JsonObject)).toMatchObject({ body: http.data });
    expect(presentStored(data, `${$REF}1`, http as JsonObject)).toMatchObject({ body: http.data });
    expect(presentStored(data, `${$REF}#/x`, [1])).toEqual([1]);
  });
});

test("a JSON schema's $ref is data like any other", () => {
  const schema = { $ref: "#/definitions/x", size: 3 };
  expect(isResultRef(schema)).toBe(false);
  const scope = scopeOf({ start: { value: { schema } } });
  expect(renderValue("{{ start.schema }}", scope)).toEqual(schema);
});

test("readsOf() lists what the server's templates read of each step, relative to its value", () => {
  const workflow = `
  - step: start
    tool: { kind: python, code: "result = 1" }
    set:
      ctx.total: "{{ output.data.total }}"
    next:
      arcs:
        - step: each
          when: "{{ start.rows | length > 0 and output.status == 'ok' }}"
  - step: each
    loop: { in: "{{ steps.start.rows }}", iterator: row }
    tool: { kind: python, code: "result = 1" }
    next:
      arcs:
        - step: child
          when: "{{ each.results[0].meta.ok }}"
  - step: child
    tool:
      kind: playbook
      path: other
      input: { first: "{{ start.rows[0].id }}" }
`;
  const header = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {path: a}\nworkflow:";
  const knownTools = toolsNamed("python");
  const { playbook } = parsePlaybook(header + workflow, { knownTools });
  assert(playbook !== undefined, "the document is fine");
  expect(readsOf(playbook, "start")).toEqual([
    ["data", "total"],
    ["rows"],
    ["status"],
    ["rows", 0, "id"],
  ]);
  expect(readsOf(playbook, "each")).toEqual([["meta", "ok"]]);
  expect(readsOf(playbook, "child")).toEqual([]);
});
