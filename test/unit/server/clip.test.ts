import { expect, test } from "bun:test";
import { clipJson } from "../../../src/server/clip.ts";
import { createBackend, createTestServer } from "./backend.ts";

test("clipJson() leaves what fits as it is", () => {
  const value = { a: [1, "two", null, { b: true }], c: "" };
  expect(clipJson(value, 1000)).toEqual({ value, isClipped: false });
});

test("clipJson() ends lists, maps and texts early, and says how much is left out", () => {
  const list = Array.from({ length: 100_000 }, (_, n) => ({ n }));
  const { value, isClipped } = clipJson({ results: list, stats: { total: 100_000 } }, 2000);
  expect(isClipped).toBe(true);
  expect(JSON.stringify(value).length).toBeLessThan(3000);
  const shown = value as { readonly results: readonly unknown[] };
  expect(shown.results[0]).toEqual({ n: 0 });
  expect(shown.results.at(-1)).toMatch(/^… 99,\d\d\d more$/);
  expect(clipJson("x".repeat(10_000), 50_000).value).toEndWith("… 6,000 more characters");
});

test("GET steps with clip gives the beginning of large results, and where the whole is", async () => {
  const backend = createBackend();
  const run = backend.add("12");
  const step = { status: "completed", visits: 1, attempts: 1 };
  run.steps = [
    { ...step, step: "many of", result: { results: Array.from({ length: 10_000 }, () => "item") } },
    { ...step, step: "small", result: { a: 1 } },
  ];
  const { call } = createTestServer(backend);
  const { body, text } = await call("GET", "/api/executions/12/steps?clip=true");
  expect(text.length).toBeLessThan(40_000);
  expect(body.steps).toMatchObject([
    {
      result_clipped: true,
      result_uri: "noetl://default/default/results/12/many%20of",
    },
    { result_clipped: false, result: { a: 1 } },
  ]);
  const whole = await call("GET", "/api/executions/12/steps?step=many%20of");
  expect(whole.body.steps[0].result.results).toHaveLength(10_000);
});
