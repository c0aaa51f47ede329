import { describe, expect, test } from "bun:test";
import type { Json } from "../../../src/core/json.ts";
import { TemplateError } from "../../../src/template/error.ts";
import {
  hasTemplate,
  mentionedNames,
  renderText,
  renderValue,
} from "../../../src/template/render.ts";
import type { Scope } from "../../../src/template/scope.ts";
import { Aliased, RefNeededError } from "../../../src/template/scope.ts";

const RESULTS: Json = [{ id: 1 }, { id: 2 }];
const STORED = { $ref: "noetl://execution/1/stored", size: 70_000, type: "object" } as const;
const ABSENT = { $ref: "noetl://execution/1/absent", size: 70_000, type: "object" } as const;

const SCOPE: Scope = {
  names: {
    ctx: { flag: true, count: 3, none: null, empty: "", map: { z: 1, y: 2 }, "a key": { deep: 5 } },
    zip: "01234",
    id: "9007199254740993",
    items: [10, 20, 30],
    name: "O'Brien",
    page: new Aliased({ results: RESULTS, total: 2 }, (name) => alias(name), RESULTS),
    output: new Aliased({ status: "data's", rows: [1] }, (name) => envelope(name), null, true),
    stored: STORED,
    absent: ABSENT,
    list: [STORED, { inner: STORED }],
    braces: "{{ ctx.count }} {% for %}",
  },
  resolved: new Map([[STORED.$ref, { rows: [{ n: 7 }], text: "loaded" }]]),
  nowMs: Date.UTC(2026, 0, 2, 3, 4, 5),
};

function alias(name: string): unknown {
  return name === "data" ? RESULTS : undefined;
}

function envelope(name: string): unknown {
  return name === "status" ? "error" : undefined;
}

function render(template: Json): Json {
  return renderValue(template, SCOPE);
}

function reasonOf(template: string): string {
  try {
    render(template);
  } catch (error) {
    return error instanceof TemplateError ? error.message : `not a TemplateError: ${error}`;
  }
  return "rendered";
}

describe("a lone expression keeps its type", () => {
  test.each<[string, Json]>([
    ["{{ ctx.count }}", 3],
    ["{{ ctx.flag }}", true],
    ["{{ ctx.map }}", { z: 1, y: 2 }],
    ["{{ items }}", [10, 20, 30]],
    ["{{ zip }}", "01234"],
    ["{{ ctx.none }}", null],
    ["{{ nothing }}", null],
    ["{{ nothing.at['all'][0].here }}", null],
    ["{{ ctx.count.of.number }}", null],
    ["{{ ctx.count + 1 }}", 4],
    ["{{ ctx['a key'].deep }}", 5],
    ["{{ items[0] }}", 10],
    ["{{ items[-1] }}", 30],
    ["{{ items.1 }}", 20],
    ["{{ items[1:] }}", [20, 30]],
    ["{{ zip[0] }}", "0"],
    ["{{ [1, none, 'a'] }}", [1, null, "a"]],
    ["{{ {'a': ctx.count, 'b': {'c': []}} }}", { a: 3, b: { c: [] } }],
    ["{{ ctx.map if ctx.flag else 1 }}", { z: 1, y: 2 }],
    ["{{ 1 if false }}", null],
    ["{{ ctx.flag and items }}", [10, 20, 30]],
    ["{{ 2 in [1, 2] and not ctx.empty }}", true],
    ["{{ 'a' ~ 1 }}", "a1"],
    ["{{ (1, 2) }}", [1, 2]],
    ["{{- ctx.count -}}\n", 3],
    ["{# why #}{{ ctx.count }}", 3],
    ["{{ true }}", true],
    ["{{ None }}", null],
  ])("%p", (template, expected) => {
    expect(render(template)).toEqual(expected);
  });

  test("a list or map without templates is returned itself", () => {
    const value = { a: [1, { b: "x" }] };
    expect(render(value)).toBe(value);
    expect(render({ a: value, b: "{{ ctx.count }}" })).toEqual({ a: value, b: 3 });
    expect(render(["{{ zip }}", 1])).toEqual(["01234", 1]);
  });

  test("keys of maps are not rendered", () => {
    expect(render({ "{{ zip }}": "{{ zip }}" })).toEqual({ "{{ zip }}": "01234" });
  });
});

describe("everything else is text", () => {
  test.each<[string, string]>([
    ["n={{ ctx.count }}", "n=3"],
    ["{{ ctx.count }} ", "3 "],
    ["[{{ ctx.none }}{{ nothing.x }}]", "[]"],
    ["{{ ctx.flag }}/{{ not ctx.flag }}", "true/false"],
    ["m={{ ctx.map }} l={{ items }}", 'm={"z":1,"y":2} l=[10,20,30]'],
    ["{{ zip }}{{ id }}", "012349007199254740993"],
    ["{{ 4 / 2 }}|{{ 0.5 }}|{{ 7 // 2 }}", "2|0.5|3"],
    ["a\n{{ zip }}\n", "a\n01234\n"],
    ["{% raw %}{{ zip }}{% endraw %}", "{{ zip }}"],
    ["a {#- gone -#} b", "ab"],
    ["a {{- zip -}} b", "a01234b"],
    ["echo {#x", "echo {#x"],
    ["{% if ctx.flag %}yes{% elif zip %}no{% else %}no{% endif %}", "yes"],
    ["{% if ctx.none is none %}NULL{% endif %}", "NULL"],
    [
      "{% for i in items %}{{ loop.index }}:{{ i }}{% if not loop.last %},{% endif %}{% endfor %}",
      "1:10,2:20,3:30",
    ],
    ["{% for i in items if i > 10 %}{{ i }};{% else %}none{% endfor %}", "20;30;"],
    ["{% for i in nothing %}{{ i }}{% else %}none{% endfor %}", "none"],
    ["{% for k, v in ctx.map.items() %}{{ k }}={{ v }};{% endfor %}", "y=2;z=1;"],
    ["{% for p in page %}{{ p.id }}{% endfor %}", "12"],
    ["{% set a = ctx.count %}{{ a + 1 }}{{ ctx.none }}", "4"],
    ["{% if nothing %}{% set zip = 'x' %}{% endif %}{{ zip }}", "01234"],
    [
      "{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
      "60",
    ],
    ["{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(zip) }}", "01234-2"],
    ["{% with a = zip, b = 1 %}{{ a }}{{ b }}{% endwith %}{{ b }}", "012341"],
    ["{% filter upper %}a{{ name }}{% endfilter %}", "AO'BRIEN"],
    ["{% for i in items %}{ {{ i }} }{% endfor %}", "{ 10 }{ 20 }{ 30 }"],
  ])("%p", (template, expected) => {
    expect(render(template)).toBe(expected);
  });

  test("renderText() gives text for a lone expression too", () => {
    expect(renderText("{{ ctx.count }}", SCOPE)).toBe("3");
    expect(renderText("{{ nothing }}", SCOPE)).toBe("");
    expect(renderText("{{ stored }}", SCOPE)).toBe('{"rows":[{"n":7}],"text":"loaded"}');
    expect(renderText("plain", SCOPE)).toBe("plain");
  });
});

describe("filters and methods", () => {
  test.each<[string, Json]>([
    ["{{ '42' | int }}", 42],
    ["{{ ' 42 ' | int }}", 42],
    ["{{ '4.9' | int }}", 4],
    ["{{ -4.9 | int }}", -4],
    ["{{ 'junk' | int }}", 0],
    ["{{ 'junk' | int(7) }}", 7],
    ["{{ 'junk' | int(default=7) }}", 7],
    ["{{ ('junk' | int(default=7)) + 1 }}", 8],
    ["{{ 'ff' | int(0, 16) }}", 255],
    ["{{ nothing | int }}", 0],
    ["{{ true | int }}", 1],
    ["{{ items | int }}", 0],
    ["{{ 'junk' | float }}", 0],
    ["{{ '1.5' | float }}", 1.5],
    ["{{ 'junk' | float(2.5) }}", 2.5],
    ["{{ id | int }}", "9007199254740993"],
    ["{{ (id | int) + 1 }}", "9007199254740994"],
    ["{{ 9007199254740993 }}", "9007199254740993"],
    ["{{ [9007199254740993, '<'] }}", ["9007199254740993", "<"]],
    ["{{ 2 ** 80 }}", "1208925819614629174706176"],
    ["{{ '1e400' | int }}", 0],
    ["{{ nothing | default('x') }}", "x"],
    ["{{ ctx.none | default('x') }}", "x"],
    ["{{ ctx.empty | default('x') }}", ""],
    ["{{ ctx.empty | default('x', true) }}", "x"],
    ["{{ ctx.empty | d('x', boolean=true) }}", "x"],
    ["{{ nothing.x | default(ctx.count) }}", 3],
    ["{{ nothing | default({'a': [1]}) }}", { a: [1] }],
    ["{{ nothing | default({}) }}", {}],
    ["{{ nothing | default(1) | int }}", 1],
    ["{{ ctx.map.get('z') }}", 1],
    ["{{ ctx.map.get('q') }}", null],
    ["{{ ctx.map.get('q', 9) }}", 9],
    ["{{ (page | first).get('id', 0) }}", 1],
    ["{{ page[0].get('x', {}).get('y', 'z') }}", "z"],
    ["{{ nothing.get('a', 5) }}", 5],
    ["{{ -ctx.map.get('z') }}", -1],
    [
      "{{ ctx.map.items() }}",
      [
        ["z", 1],
        ["y", 2],
      ],
    ],
    ["{{ ctx.map.keys() | list }}", ["z", "y"]],
    ["{{ ctx.map.values() | sum }}", 3],
    ["{{ ctx.map | tojson }}", '{"z":1,"y":2}'],
    ["{{ ctx.map | tojson | length }}", 13],
    ['{{ name | replace("\'", "\'\'") }}', "O''Brien"],
    ["{{ {'n': name} | tojson | replace(\"'\", \"''\") }}", '{"n":"O\'\'Brien"}'],
    ["{{ '[1, 9007199254740993]' | fromjson }}", [1, "9007199254740993"]],
    ["{{ 'hé' | b64encode }}", "aMOp"],
    ["{{ 'aMOp' | b64decode }}", "hé"],
    ["{{ 'a,b' | split(',') }}", ["a", "b"]],
    ["{{ ' a  b ' | split }}", ["a", "b"]],
    ["{{ 'A' | lower }}{{ 'a' | upper }}", "aA"],
    ["{{ nothing | lower }}", ""],
    ["{{ nothing | length }}", 0],
    ["{{ 'é' | length }}", 1],
    ["{{ page | length }}", 2],
    ["{{ [] | first }}", null],
    ["{{ (ctx.flag | string | lower) == 'true' }}", true],
    ["{{ 'ab'.upper() }}", "AB"],
    ["{{ zip.startswith('0') }}", true],
    ["{{ '%s-%03d %.1f%%' % ('a', 5, 1.25) }}", "a-005 1.3%"],
    ["{{ '%(a)s' % {'a': 1} }}", "1"],
    ["{{ '%s' % zip }}", "01234"],
    ["{{ '%s!' | format(zip) }}", "01234!"],
    ["{{ '{} {1} {n:.2f} {{}}'.format(1, 2, n=3) }}", "1 2 3.00 {}"],
    ["{{ 5 % 3 }}", 2],
    ["{{ now() }}", "2026-01-02T03:04:05.000Z"],
    ["{{ now().isoformat()[:10] }}", "2026-01-02"],
    ["{{ items | map('string') | join('-') }}", "10-20-30"],
    ["{{ page | map(attribute='id') | list }}", [1, 2]],
    ["{{ page | selectattr('id', 'eq', 2) | list }}", [{ id: 2 }]],
    ["{{ 3.14159 | round(2) }}", 3.14],
    ["{{ zip is defined }}", true],
    ["{{ nothing.x is defined }}", false],
    ["{{ nothing is not defined }}", true],
    ["{{ ctx.none is none }}", true],
    ["{{ 9 is divisibleby 3 }}", true],
  ])("%p", (template, expected) => {
    expect(render(template)).toEqual(expected);
  });
});

describe("aliased values and stored results", () => {
  test.each<[string, Json]>([
    ["{{ page }}", { results: RESULTS, total: 2 }],
    ["{{ page | default({}) }}", { results: RESULTS, total: 2 }],
    ["{{ page | default([]) | length }}", 2],
    ["{{ absent | default({}) }}", ABSENT],
    ["{{ page.total }}", 2],
    ["{{ page.data[1].id }}", 2],
    ["{{ page[0].id }}", 1],
    ["{{ page | last }}", { id: 2 }],
    ["{{ page.nothing }}", null],
    ["{{ output.status }}", "error"],
    ["{{ output.status == 'error' and output.rows[0] == 1 }}", true],
    ["{{ stored }}", STORED],
    ["{{ stored.rows[0].n }}", 7],
    ["{{ stored.rows[0].n + 1 }}", 8],
    ["{{ stored | length }}", 2],
    ["{{ list | length }}", 2],
    ["{{ list[0].text }}", "loaded"],
    ["{{ list[1].inner.text ~ '!' }}", "loaded!"],
    ["{{ (list | last).inner.text ~ '!' }}", "loaded!"],
    ["{% for x in list %}{{ x.text }}{{ x.inner.text }};{% endfor %}", "loaded;loaded;"],
  ])("%p", (template, expected) => {
    expect(render(template)).toEqual(expected);
  });

  test.each([
    "{{ absent.rows }}",
    "{{ absent | length }}",
    "text {{ absent }}",
    "{{ absent ~ '' }}",
  ])("%p asks for the stored result", (template) => {
    expect(() => render(template)).toThrow(RefNeededError);
  });

  test("a lone path to a stored result that is not loaded gives the reference", () => {
    expect(render("{{ absent }}")).toEqual(ABSENT);
  });
});

describe("errors name the template and the cause", () => {
  test.each([
    ["{{ zip", '"}}" is missing'],
    ["{{ }}", "an expression is empty"],
    ["{{ 'a }}", "a string has no closing quote"],
    ["{{ a b }}", "syntax error"],
    ["{{ (1 }}", '")" is missing'],
    ["{{ 1 ] }}", 'unexpected "]"'],
    ["{% if zip %}", "unexpected end of input"],
    ["{% endfor %}", "syntax error"],
    ["{% include 'x' %}", 'unknown statement "include"'],
    ["{{ zip | lenght }}", 'unknown filter "lenght"; did you mean "length"?'],
    ["{{ zip | constructor }}", 'unknown filter "constructor"'],
    ["{{ zip is defnied }}", 'did you mean "defined"?'],
    ["{{ eval('1') }}", 'unknown function "eval"'],
    ["{{ 1 / 0 }}", "no finite number"],
    ["{{ zip + 1 }}", "unsupported types"],
    ["{{ zip.nope() }}", "unknown method"],
    ["{{ 5 | length }}", "a number has no length"],
    ["{{ 'x' | fromjson }}", "no JSON"],
    ["{{ ('x' | fromjson) + 1 }}", "no JSON"],
    ["{{ 'x' * 1000000000 }}", "too much memory"],
    ["{{ ('y' * 9000000) | replace('y', 'zz') }}", "longer than"],
    [
      "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
      "out of fuel",
    ],
    ["{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion limit"],
    [`{{ ${"(".repeat(100)}1${")".repeat(100)} }}`, "nested deeper"],
    [`{{ 1${" + 1".repeat(3000)} }}`, "more than 4000 parts"],
  ])("%p", (template, reason) => {
    expect(reasonOf(template)).toContain(reason);
    expect(reasonOf(template)).toStartWith("Cannot render ");
  });

  test("a shortened text stands for a long template", () => {
    expect(reasonOf(`{{ zip + 1 }} ${"long ".repeat(1000)}`).length).toBeLessThan(300);
  });

  test("rendering goes on after the engine has run out of memory", () => {
    expect(reasonOf("{{ 'x' * 1000000000 }}")).toContain("memory");
    expect(render("{{ ctx.count + 1 }}")).toBe(4);
    expect(render("{% for i in items %}{{ i }}{% endfor %}")).toBe("102030");
  });
});

describe("what is reachable", () => {
  test.each([
    "{{ ctx.constructor }}",
    "{{ ctx.__proto__ }}",
    "{{ items.length }}",
    "{{ zip.constructor }}",
    "{{ toString }}",
    "{{ process.env }}",
    "{{ (ctx).__class__ }}",
  ])("%p is undefined", (template) => {
    expect(render(template)).toBeNull();
  });

  test("data that holds braces is never evaluated", () => {
    expect(render("{{ braces }}")).toBe("{{ ctx.count }} {% for %}");
    expect(render("<{{ braces }}>")).toBe("<{{ ctx.count }} {% for %}>");
    expect(render("{{ braces ~ braces | upper }}")).toContain("{{ ctx.count }}");
    expect(render("{% if true %}{{ braces }}{% endif %}")).toBe("{{ ctx.count }} {% for %}");
  });
});

test("mentionedNames() gives the free names of all templates", () => {
  const names = mentionedNames({
    a: "{{ ctx.x | default(fallback.y) }} and {{ now() }}",
    b: ["{% for row in rows if row.ok %}{{ row.id }}{{ loop.index }}{% endfor %}", "plain"],
    c: "{% set t = keychain.token %}{{ t }}{{ results[index].value }}",
  });
  expect([...names].sort()).toEqual(
    ["ctx", "fallback", "index", "keychain", "results", "rows", "t"].sort(),
  );
});

test("hasTemplate() looks everywhere", () => {
  expect(hasTemplate({ a: [1, { b: "x {% if y %}{% endif %}" }] })).toBe(true);
  expect(hasTemplate({ a: [1, { b: "{ not } {#one" }], "{{ key }}": null })).toBe(false);
});
