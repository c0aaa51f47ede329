/** The artifact tool against the real service of stored values. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { createIdGenerator } from "../../../src/core/ids.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { createServerMetrics } from "../../../src/observability/metrics.ts";
import { createRegistry } from "../../../src/observability/registry.ts";
import { DEFAULT_RESULT_LIMITS } from "../../../src/orchestrator/result-limits.ts";
import { Results } from "../../../src/orchestrator/results.ts";
import type { Store } from "../../../src/store/pool.ts";
import { connectStore } from "../../../src/store/pool.ts";
import { createPostgresResultStore } from "../../../src/store/result-store.ts";
import { createArtifactTool } from "../../../src/tools/artifact.ts";
import type { Artifacts, ResultQuery } from "../../../src/tools/tool.ts";
import type { TestDatabase } from "../../support/postgres.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { failureFrom, problemsOf, valueFrom } from "./call.ts";

/** What call.ts says it is. */
const EXECUTION = "7300000000000000001" as ExecutionId;
const metrics = createServerMetrics(createRegistry({ hasProcessMetrics: false }), "test");
const newId = createIdGenerator(11);
const filesDir = makeScratchDir("artifacts");
const tool = createArtifactTool({ filesDir, maxOutputBytes: 10_000 });

/** PostgreSQL may have to be started first. */
const START_MS = 60_000;

let db: TestDatabase;
let store: Store;
let artifacts: Artifacts;

beforeAll(async () => {
  db = await createTestDatabase();
  store = connectStore(db.url, { name: "test", max: 4 });
  const postgres = createPostgresResultStore(store);
  const results = new Results({
    store,
    target: postgres,
    sources: { postgres },
    metrics,
    limits: { ...DEFAULT_RESULT_LIMITS, resultBytes: 3_000_000 },
    newId: () => Promise.resolve(newId<string>()),
    stepValue: () => Promise.resolve(undefined),
  });
  const open = (key: ResultQuery) =>
    "address" in key ? results.open(key.address) : results.openNamed(key.executionId, key.name);
  artifacts = {
    describe: async (key) => (await open(key)).info,
    read: async (key, begin) => {
      const { info, read } = await open(key);
      const write = begin();
      for await (const bytes of read()) {
        write(bytes);
      }
      return info;
    },
    put: (result, source) => results.put(result, source()),
    list: (id, page) => results.list(id, page),
    remove: (ref) => results.remove(ref),
  };
}, START_MS);

afterAll(async () => {
  await store.close();
  await db[Symbol.asyncDispose]();
});

const run = async (config: JsonObject, input: JsonObject = {}): Promise<JsonObject> =>
  (await valueFrom(tool, { config, input, artifacts })) as JsonObject;
const fail = (config: JsonObject, input: JsonObject = {}) =>
  failureFrom(tool, { config, input, artifacts });

async function put(name: string, data: Json, more: JsonObject = {}): Promise<JsonObject> {
  return await run({ action: "put", name, data, ...more });
}

describe("artifact", () => {
  test("puts a value and gets it by reference, URI and name, whatever the field is called", async () => {
    const stored = await put("numbers", { items: [1, 2], total: 2 });
    expect(stored).toMatchObject({ status: "stored", scope: "execution", store: "db", bytes: 25 });
    const { ref, uri } = stored;
    for (const input of [
      { result_ref: ref },
      { ref },
      { uri },
      { uri: ref },
      { name: "numbers" },
    ] as JsonObject[]) {
      expect(await run({}, input)).toEqual({ items: [1, 2], total: 2 });
      expect(await run({ action: "get", ...input })).toEqual({ items: [1, 2], total: 2 });
    }
    expect(await valueFrom(tool, { config: { ref: `${String(ref)}#/items/1` }, artifacts })).toBe(
      2,
    );
  });

  test("gives a value back that a template has loaded already", async () => {
    expect(await run({ action: "get" }, { result_ref: { rows: [1] } })).toEqual({ rows: [1] });
  });

  test("puts and gets texts and binary content as what they are", async () => {
    const text = await put("page", "<p>ü</p>", { content_type: "text/html" });
    expect(text).toMatchObject({ content_type: "text/html", bytes: 9 });
    expect(await run({ ref: text["ref"] ?? "" })).toMatchObject({
      data: "<p>ü</p>",
      encoding: "text",
      content_type: "text/html",
    });
    const data = new Uint8Array([0, 255, 254, 1]).toBase64();
    const binary = await put("blob", data, { encoding: "base64" });
    expect(binary).toMatchObject({ bytes: 4, content_type: "application/octet-stream" });
    expect(await run({ ref: binary["ref"] ?? "" })).toMatchObject({ data, encoding: "base64" });
  });

  test("puts a file and gets one, as a whole or not at all", async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    writeFileSync(join(filesDir, "in.bin"), Buffer.concat(Array<Uint8Array>(40).fill(bytes)));
    const stored = await run({ action: "put", name: "file", file: "in.bin" });
    expect(stored).toMatchObject({ bytes: 2_400_000, content_type: "application/octet-stream" });
    const got = await run({ action: "get", ref: stored["ref"] ?? "", file: "sub/out.bin" });
    expect(got["file"]).toBe(join(filesDir, "sub/out.bin"));
    expect(readFileSync(join(filesDir, "sub/out.bin"))).toEqual(
      readFileSync(join(filesDir, "in.bin")),
    );
    const missing = await fail({ action: "get", name: "nothing", file: "sub/none.bin" });
    expect(missing.kind).toBe("not_found");
    expect(readdirSync(join(filesDir, "sub"))).toEqual(["out.bin"]);
  });

  test("lists what an execution has and deletes it", async () => {
    const { ref } = await put("short-lived", [1], { ttl: "1h", scope: "permanent" });
    const listed = await run({ action: "list", name: "short-lived" });
    expect(listed).toMatchObject({ count: 1, artifacts: [{ ref, scope: "permanent" }] });
    const [artifact] = listed["artifacts"] as readonly JsonObject[];
    expect(Date.parse(String(artifact?.["expires_at"]))).toBeGreaterThan(Date.now() + 3_000_000);
    expect(await run({ action: "delete", name: "short-lived" })).toMatchObject({ deleted: true });
    expect(await run({ action: "delete", ref: ref ?? "" })).toMatchObject({ deleted: false });
    const other = newId<ExecutionId>();
    expect(await run({ action: "list", execution_id: other })).toMatchObject({ count: 0 });
  });

  test.each<[string, JsonObject, JsonObject, string, string]>([
    ["nothing to get", {}, {}, "schema", "REF_MISSING"],
    ["an empty reference", {}, { result_ref: null }, "schema", "REF_MISSING"],
    ["no reference", {}, { result_ref: "https://x" }, "schema", "REF_INVALID"],
    ["a name that nothing has", { name: "nope" }, {}, "not_found", "RESULT_NOT_FOUND"],
    ["no name to put", { action: "put", data: 1 }, {}, "schema", "ARTIFACT_NAME"],
    ["no data to put", { action: "put", name: "a" }, {}, "schema", "ARTIFACT_DATA"],
    [
      "a bad scope",
      { action: "put", name: "a", data: 1, scope: "day" },
      {},
      "schema",
      "ARTIFACT_SCOPE",
    ],
    ["a bad ttl", { action: "put", name: "a", data: 1, ttl: "soon" }, {}, "schema", "ARTIFACT_TTL"],
    [
      "bad base64",
      { action: "put", name: "a", data: "%%%", encoding: "base64" },
      {},
      "schema",
      "ARTIFACT_DATA",
    ],
    ["no such file", { action: "put", name: "a", file: "nope" }, {}, "not_found", "FILE_NOT_FOUND"],
    ["a file outside", { action: "put", name: "a", file: "../x" }, {}, "schema", "FILE_OUTSIDE"],
  ])("refuses %s", async (_what, config, input, kind, code) => {
    expect(await fail(config, input)).toMatchObject({ kind, code });
  });

  test("says which limit a value is over, and how to get it all the same", async () => {
    const { ref } = await put("large", "x".repeat(20_000));
    expect(await fail({ ref: ref ?? "" })).toMatchObject({
      kind: "limit",
      message: expect.stringMatching(/20002 bytes.*10000 \(NOETL_RESULT_BYTES\): get it with file/),
    });
    mkdirSync(filesDir, { recursive: true });
    writeFileSync(join(filesDir, "huge"), new Uint8Array(3_000_001));
    expect(await fail({ action: "put", name: "huge", file: "huge" })).toMatchObject({
      kind: "limit",
      code: "RESULT_TOO_LARGE",
    });
  });

  test("checks its action", () => {
    expect(problemsOf(tool, { action: "steal" })).toEqual([
      "`action` must be one of get, put, list, delete",
    ]);
    expect(problemsOf(tool, {})).toEqual([]);
    expect(existsSync(filesDir)).toBe(true);
  });

  test("belongs to the execution that puts", async () => {
    const { ref } = await put("mine", 1);
    expect(ref).toContain(`/execution/${EXECUTION}/`);
  });
});
