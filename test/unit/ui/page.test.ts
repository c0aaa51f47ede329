import { expect, test } from "bun:test";
import { Glob } from "bun";
import { loadPage } from "./page.ts";

interface Answer {
  readonly value?: unknown;
  readonly error?: string;
  readonly text?: string;
}

const { readJson, bodyWith } = await loadPage<{
  readJson(text: string, options?: object): Answer;
  bodyWith(name: string, text: string, fields?: object): string;
}>("json-text.js");

test("what is typed as JSON is checked, with the place of the fault", () => {
  expect(readJson('{"a": 1}')).toEqual({ value: { a: 1 } });
  expect(readJson(" ")).toEqual({ value: null });
  expect(readJson(" ", { isObject: true })).toEqual({ value: {} });
  expect(readJson("{").error).toStartWith("Not JSON yet: ");
  expect(readJson("[1]", { isObject: true }).error).toStartWith("Must be an object");
});

test("a payload keeps the digits of long numbers", () => {
  const body = bodyWith("payload", '{"id": 383103411148554240123}', {
    sender: "Ada",
    none: undefined,
  });
  expect(body).toBe('{"payload": {"id": 383103411148554240123}, "sender": "Ada"}');
  expect(bodyWith("payload", "")).toBe('{"payload": {}}');
});

const { fieldsOf, payloadOf } = await loadPage<{
  fieldsOf(schema: unknown): Record<"name" | "type" | "help", string | undefined>[];
  payloadOf(answers: readonly object[]): Answer;
}>("run-fields.js");

test("a run form has a field for each of the schema, by its type or its default", () => {
  const schema = {
    fields: [
      { name: "day", type: "string", required: true },
      { name: "count", type: "integer", default: 3 },
      { name: "options", default: { a: 1 } },
      { name: "is_dry", default: false, label: "Dry run", description: "Dry run\nWrites nothing." },
      { label: "without a name" },
    ],
  };
  const fields = fieldsOf(schema);
  expect(fields.map(({ name, type }) => `${name} ${type}`)).toEqual([
    "day string",
    "count number",
    "options json",
    "is_dry boolean",
  ]);
  expect(fields.map(({ help }) => help).at(-1)).toBe("Writes nothing.");
  expect(fieldsOf(undefined)).toEqual([]);
  const answer = (values: readonly unknown[]) =>
    payloadOf(fields.map((field, index) => ({ field, value: values[index] })));
  const same = JSON.stringify({ a: 1 }, null, 2);
  expect(answer(["2026-01-01", "3", same, false]).text).toBe('{"day": "2026-01-01"}');
  expect(answer(["x", "12345678901234567890", "[2]", true]).text).toBe(
    '{"day": "x", "count": 12345678901234567890, "options": [2], "is_dry": true}',
  );
  expect(answer(["", "3", same, false]).error).toBe("day is needed");
  expect(answer(["x", "many", same, false]).error).toBe("count: many is no number");
  expect(answer(["x", "3", "{", false]).error).toStartWith("options: Not JSON yet");
});

const { findStored } = await loadPage<{
  findStored(value: unknown): { readonly path: string; readonly fields?: unknown }[];
}>("stored-find.js");

test("values that are stored apart are found, the value itself or parts of it", () => {
  const ref = { _ref: "noetl://execution/1/result/a/b", _size: 10, _type: "array", _preview: "[" };
  expect(findStored({ ...ref, title: "x" })).toMatchObject([
    { path: "", size: 10, type: "array", preview: "[", fields: { title: "x" } },
  ]);
  expect(findStored({ a: { b: ref }, c: [ref] }).map(({ path }) => path)).toEqual(["a.b", "c.0"]);
  expect(findStored({ a: 1, b: null, c: "_ref" })).toEqual([]);
});

const { reasonsToWait, starvedSteps } = await loadPage<{
  reasonsToWait(facts: object): Record<string, unknown>[];
  starvedSteps(commands: readonly object[], reasons: readonly object[]): Map<string, string>;
}>("waits.js");

test("the reasons to wait are the queue, signals and times, and pools without room", () => {
  const queue = { key: "orders", limit: 1, is_queued: true, position: 2, held: 1 };
  const wait = { step: "approve", kind: "signal", signal: "go", count: 1 };
  const commands = [
    { step: "train", pool: "gpu", status: "queued" },
    { step: "train", pool: "gpu", status: "queued" },
    { step: "many", pool: "cpu", status: "queued" },
    { step: "many", pool: "cpu", status: "running" },
    { step: "late", pool: "cpu", status: "queued" },
  ];
  const pools = [
    { name: "gpu", workers: 0, waiting_reason: "pool gpu has no live worker" },
    { name: "cpu", workers: 1, waiting_reason: "all slots of pool cpu are busy" },
  ];
  const status = { concurrency: queue, waiting: [wait], waiting_reason: "waits" };
  const reasons = reasonsToWait({ status, commands, pools });
  expect(reasons).toMatchObject([
    { kind: "queue", key: "orders", position: 2 },
    { kind: "wait", step: "approve", signal: "go" },
    { kind: "pool", pool: "gpu", count: 2, steps: ["train"], isEmpty: true },
    // The other items of `many` have slots: that these wait is how loops are.
    { kind: "pool", pool: "cpu", count: 1, steps: ["late"], isEmpty: false },
  ]);
  expect([...starvedSteps(commands, reasons).keys()]).toEqual(["train", "late"]);
  expect(reasonsToWait({ status: { waiting: [] }, commands, pools: pools.slice(1) })).toMatchObject(
    [{ pool: "gpu", text: "pool gpu has no live worker" }, { pool: "cpu" }],
  );
});

const { rangeOf } = await loadPage<{
  rangeOf(view: object): { readonly begin: number; readonly end: number };
}>("window-list.js");

test("of a long list only the rows in sight and a few more are drawn", () => {
  const view = { height: 300, rowHeight: 20, count: 100_000 };
  expect(rangeOf({ ...view, top: 0 })).toEqual({ begin: 0, end: 25 });
  expect(rangeOf({ ...view, top: 1_000_000 })).toEqual({ begin: 49_990, end: 50_025 });
  expect(rangeOf({ ...view, top: 1_999_999 }).end).toBe(100_000);
  expect(rangeOf({ ...view, count: 0, top: 0 })).toEqual({ begin: 0, end: 0 });
});

const { barsOf } = await loadPage<{ barsOf(visits: readonly object[], span: object): object[] }>(
  "timeline.js",
);

test("a visit's bar has a part for each run: in the queue, then with a worker", () => {
  const visit = { number: 1, beginMs: 100, endMs: 200, status: "failed" };
  const runs = [{ attempt: 1, queuedMs: 100, beginMs: 150, endMs: 200, status: "failed" }];
  const bars = barsOf([{ ...visit, runs }], { beginMs: 0, endMs: 400 });
  expect(bars).toMatchObject([
    { kind: "visit", left: 0.25, width: 0.25, status: "failed", title: "visit 1: failed, 100 ms" },
    { kind: "queued", left: 0.25, width: 0.125 },
    { kind: "run", left: 0.375, width: 0.125 },
  ]);
  expect(bars.at(-1)).toMatchObject({
    title: "attempt 1: failed, waited 50 ms for a worker, ran 50 ms",
  });
});

const { queryOf, readFilter } = await loadPage<{
  readFilter(query: string | undefined): object;
  queryOf(filter: object, offset: number, nowMs: number): string;
}>("list.js");

test("the filter of the list is part of the page's address, and of what is asked for", () => {
  const filter = readFilter("path=etl&hours=24");
  expect(filter).toEqual({ path: "etl", status: "", hours: "24" });
  expect(decodeURIComponent(queryOf(filter, 50, Date.UTC(2026, 0, 2)))).toBe(
    "limit=50&offset=50&path=etl&since=2026-01-01T00:00:00.000Z",
  );
});

const { versionsOf } = await loadPage<{
  versionsOf(entries: readonly object[], path: string): readonly number[];
}>("playbook-list.js");

test("versions are those of the path itself, the newest first", () => {
  const entry = (path: string, version: number) => ({ path, version });
  const entries = [entry("etl", 9), entry("etl/more", 11), entry("etl", 10)];
  expect(versionsOf(entries, "etl")).toEqual([10, 9]);
});

const { readBlock } = await loadPage<{ readBlock(block: string): object }>("client.js");

test("blocks of a live stream are read; comments have no data", () => {
  expect(readBlock('id: 7\nevent: end\ndata: {"a": "b: c"}')).toEqual({
    id: "7",
    event: "end",
    data: '{"a": "b: c"}',
  });
  expect(readBlock(": still here")).toEqual({});
});

const { tailOf } = await loadPage<{ tailOf(text: string, count: number): object }>("failure.js");
const { formatAge, formatSize, formatSpan } =
  await loadPage<Record<"formatAge" | "formatSize" | "formatSpan", (value: number) => string>>(
    "format.js",
  );

test("the end of an error's output comes first; times and sizes are short", () => {
  expect(tailOf("a\nb\nc\n", 2)).toEqual({ tail: "b\nc", head: "a" });
  expect(tailOf("a", 2)).toEqual({ tail: "a", head: "" });
  expect([500, 61_000, 90_000_000].map(formatAge)).toEqual(["now", "1 m ago", "1 d ago"]);
  expect([900, 30_000, 3_700_000].map(formatSpan)).toEqual(["0 s", "30 s", "1 h 1 m"]);
  expect([12, 2048, 5_500_000].map(formatSize)).toEqual(["12 B", "2.0 KiB", "5.2 MiB"]);
});

test("nothing on the page makes markup or code out of text, or names another host", async () => {
  const bad =
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|javascript:/;
  const files = [...new Glob("src/ui/*.{js,html,css}").scanSync(".")];
  expect(files.length).toBeGreaterThan(20);
  for (const file of files) {
    const text = await Bun.file(file).text();
    expect([file, bad.exec(text)?.[0]]).toEqual([file, undefined]);
    const hosts = text.match(/https?:\/\/(?!www\.w3\.org)[\w.]+/g) ?? [];
    expect([file, ...hosts]).toEqual([file]);
  }
});
