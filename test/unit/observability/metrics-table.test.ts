import { describe, expect, test } from "bun:test";
import { withLogFields } from "../../../src/observability/log-fields.ts";
import { METRICS_BY_ROLE, withMetrics } from "../../../src/observability/metrics-table.ts";

const ALL = Object.entries(METRICS_BY_ROLE).flatMap(([role, table]) =>
  Object.values(table).map((definition) => ({ role, ...definition })),
);

/** What a series is about must be one of few values. */
const IDS = /(^|_)(id|execution|command|worker|trace|span|host|instance|pod)($|_)/;

test("the table of log fields in README.md is current: else run `bun run docs`", async () => {
  const readme = await Bun.file("src/observability/README.md").text();
  expect(withLogFields(readme)).toBe(readme);
});

describe("metrics", () => {
  test("the table in README.md is current", async () => {
    const readme = await Bun.file("src/observability/README.md").text();
    expect(withMetrics(readme)).toBe(readme);
  });

  test("each name is used once in a process", () => {
    const names = ALL.map(({ name }) => name);
    expect(names).toEqual([...new Set(names)]);
  });

  test("names end in their unit, and only counters in _total", () => {
    const bad = ALL.filter(({ name, kind }) => (kind === "counter") !== name.endsWith("_total"));
    const durations = ALL.filter(
      ({ name, kind }) => kind === "histogram" && !/_(seconds|size)$/.test(name),
    );
    expect([...bad, ...durations].map(({ name }) => name)).toEqual([]);
  });

  test("no label is an id, and none that Prometheus sets itself", () => {
    const labels = ALL.flatMap((one) => Object.keys(one.labels).map((label) => ({ one, label })));
    expect(labels.length).toBeGreaterThan(50);
    const bad = labels.filter(({ label }) => IDS.test(label) || label === "job");
    expect(bad.map(({ one, label }) => `${one.name} ${label}`)).toEqual([]);
  });

  test("each is described in a sentence", () => {
    expect(ALL.filter(({ help }) => !/^.{12,}\.$/.test(help)).map(({ name }) => name)).toEqual([]);
  });
});
