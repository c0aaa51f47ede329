/** Whatever the template and the data: only the two known errors, types kept, data not evaluated. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Json } from "../../../src/core/json.ts";
import { TemplateError } from "../../../src/template/error.ts";
import {
  evaluateGuard,
  mentionedNames,
  renderText,
  renderValue,
} from "../../../src/template/render.ts";
import type { Scope } from "../../../src/template/scope.ts";
import { RefNeededError } from "../../../src/template/scope.ts";

const seed = process.env["TEST_SEED"];
const OPTIONS = { numRuns: 400, ...(seed === undefined ? {} : { seed: Number(seed) }) };

/** Pieces of templates, put together at random: mostly wrong, sometimes right. */
const piece = fc.constantFrom(
  ..."{{ }} {% %} {# #} a.b x [0] ['k'] | int default (1) if else for i in endfor set = , ' \" ~ + - * / % . ( ) { } : is defined not".split(
    " ",
  ),
  "tojson",
  "get('a', 1)",
  "\n",
);
const template = fc.oneof(
  fc.string(),
  fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(" ")),
  fc.array(piece, { maxLength: 8 }).map((pieces) => `{{ ${pieces.join(" ")} }}`),
);
const json = fc
  .jsonValue({ maxDepth: 3 })
  .map((value) => JSON.parse(JSON.stringify(value)) as Json);

function scopeOf(x: Json): Scope {
  return {
    names: { x, a: { b: x }, r: { $ref: "r", size: 1, type: "object" } },
    resolved: new Map(),
    nowMs: 0,
  };
}

test("rendering throws nothing but TemplateError and RefNeededError", () => {
  fc.assert(
    fc.property(template, json, (text, value) => {
      const scope = scopeOf(value);
      for (const action of [renderValue, renderText, evaluateGuard, mentionedNames]) {
        try {
          action(text, scope);
        } catch (error) {
          expect(error instanceof TemplateError || error instanceof RefNeededError).toBe(true);
        }
      }
    }),
    OPTIONS,
  );
});

test("a lone path gives the value itself", () => {
  fc.assert(
    fc.property(json, (value) => {
      expect(renderValue("{{ a.b }}", scopeOf(value))).toEqual(value);
    }),
    OPTIONS,
  );
});

test("a value keeps its type on its way through the engine", () => {
  fc.assert(
    fc.property(json, (value) => {
      const wrapped = renderValue("{{ [x][0] }}", scopeOf(value));
      expect(wrapped).toEqual(value);
      expect(renderValue("{{ x if true else 0 }}", scopeOf(value))).toEqual(value);
    }),
    OPTIONS,
  );
});

test("texts with braces come out as they went in", () => {
  const braced = fc.array(fc.oneof(piece, fc.string()), { maxLength: 6 }).map((p) => p.join(""));
  fc.assert(
    fc.property(
      braced.filter((text) => text.isWellFormed()),
      (text) => {
        const scope = scopeOf(text);
        expect(renderValue("{{ x }}", scope)).toBe(text);
        expect(renderValue("<{{ x }}>", scope)).toBe(`<${text}>`);
        expect(renderValue("{{ x ~ '' }}", scope)).toBe(text);
        expect(renderValue("{% if true %}{{ a.b }}{% endif %}", scope)).toBe(text);
      },
    ),
    OPTIONS,
  );
});

test("a raw block gives its text", () => {
  const free = fc.string().filter((text) => !text.includes("endraw") && text.isWellFormed());
  fc.assert(
    fc.property(free, (text) => {
      const rendered = renderValue(
        `{% raw %}${text}{% endraw %}{% if true %}{% endif %}`,
        scopeOf(1),
      );
      expect(rendered).toBe(text);
    }),
    OPTIONS,
  );
});
