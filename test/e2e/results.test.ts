/**
 * Large values through the compiled binary: a step gives 50 and 150 MB, guards, `set`, templates and
 * loops read from it, the API gives it back, while the server's memory stays where it was; and the
 * server is killed in the middle of uploads.
 *
 * Memory is the peak of the server's resident size, which Linux counts and forgets when told to. What
 * passes through makes garbage, so some growth says nothing; that it does not depend on the size does.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/core/json.ts";
import type { EmbeddedNats } from "../../src/embedded/nats.ts";
import type { RunningNoetl } from "../support/binary.ts";
import { noetlBinary, runNoetl, startNoetl } from "../support/binary.ts";
import { startNats } from "../support/nats.ts";
import type { TestDatabase } from "../support/postgres.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { makeScratchDir } from "../support/scratch.ts";
import { waitFor } from "../support/wait.ts";

const LIMIT_MS = 180_000;
const MIB = 1024 * 1024;
/**
 * Growth of the peak that passing data may cause: garbage until it is collected, 40 to 150 MiB whether
 * 25 MB pass or 180. Holding the largest values of these tests would take more than 400.
 */
const GROWTH_MAX = 256 * MIB;
const STEP_SIZES_MB = [50, 150];
const ENCRYPTION_KEY = Buffer.alloc(32, 7).toString("base64");

/** 1,000 characters each, so that they compress no better than data does. */
const PLAYBOOK = `apiVersion: noetl.io/v2
kind: Playbook
metadata: { path: test/large }
workload: { count: 50000 }
workflow:
  - step: start
    tool:
      kind: javascript
      input: { count: "{{ workload.count }}" }
      code: |
        let seed = count;
        const text = () => {
          let made = "";
          while (made.length < 1000) {
            seed = (seed * 1103515245 + 12345) % 2147483648;
            made += seed.toString(36);
          }
          return made.slice(0, 1000);
        };
        const items = Array.from({ length: count }, (_, id) => ({ id, text: text() }));
        return { items, count, label: "made" };
    set:
      ctx.total: "{{ output.count }}"
      ctx.kept: "{{ output.items }}"
    next:
      spec: { mode: exclusive }
      arcs:
        - step: wrong
          when: "{{ start.items | length != workload.count or start.label != 'made' }}"
        - step: read
          when: "{{ start.items is defined and start.count == workload.count }}"
  - step: wrong
    tool: { kind: noop }
  - step: read
    tool:
      kind: javascript
      input:
        one: "{{ start.items[123].id }}"
        last: "{{ ctx.kept[-1].id }}"
        length: "{{ start.items | length }}"
        total: "{{ ctx.total }}"
      code: return { one, last, length, total };
`;

/** Items of a loop of 100 kB each, read one by one; then a loop over a stored list of 8 MB. */
const LOOPS = `apiVersion: noetl.io/v2
kind: Playbook
metadata: { path: test/loops }
workflow:
  - step: start
    loop: { in: "{{ range(30) | list }}", iterator: n, spec: { mode: parallel, max_in_flight: 8 } }
    tool:
      kind: javascript
      input: { n: "{{ iter.n }}" }
      code: 'return { n, text: "x".repeat(100000), square: n * n };'
    next:
      arcs:
        - step: pick
          when: "{{ start | length == 30 and start.results[29].square == 841 }}"
  - step: pick
    tool:
      kind: javascript
      input:
        third: "{{ start.results[3].square }}"
        length: "{{ start | length }}"
        ref: "{{ start.results[3]._ref }}"
      code: 'return { third, length, isStored: ref.startsWith("noetl://") };'
    next: { arcs: [{ step: again }] }
  - step: again
    loop: { in: "{{ start.results }}", iterator: made, spec: { mode: parallel, max_in_flight: 8 } }
    tool:
      kind: javascript
      input: { square: "{{ iter.made.square }}", length: "{{ iter.made.text | length }}" }
      code: return [square, length];
    next: { arcs: [{ step: list }] }
  - step: list
    tool:
      kind: javascript
      code: 'return Array.from({ length: 40 }, (_, n) => ({ n, text: "y".repeat(200000) }));'
    next: { arcs: [{ step: over }] }
  - step: over
    loop: { in: "{{ list }}", iterator: row, spec: { mode: parallel, max_in_flight: 8 } }
    tool:
      kind: javascript
      input: { row: "{{ iter.row }}" }
      code: return row.n * 1000000 + row.text.length;
    next: { arcs: [{ step: end }] }
  - step: end
    tool:
      kind: javascript
      input: { pick: "{{ pick }}", again: "{{ again.results }}", over: "{{ over.results }}" }
      code: return { pick, again, over };
`;

let db: TestDatabase;
let nats: EmbeddedNats;
let server: RunningNoetl;
let worker: Bun.Subprocess;
const dir = makeScratchDir("results");

beforeAll(async () => {
  [db, nats] = await Promise.all([createTestDatabase(), startNats()]);
  server = await startServer(0, 0);
  worker = await startWorker();
  for (const content of [PLAYBOOK, LOOPS]) {
    const registered = await call("POST", "/api/catalog/register", { content });
    expect(registered).toMatchObject({ version: 1 });
  }
}, LIMIT_MS);

afterAll(async () => {
  worker.kill("SIGKILL");
  await worker.exited;
  await server[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
  await db[Symbol.asyncDispose]();
}, LIMIT_MS);

async function startServer(port: number, grpcPort: number): Promise<RunningNoetl> {
  const ports = ["--port", String(port), "--grpc-port", String(grpcPort)];
  return await startNoetl(["server", ...ports, "--data-dir", dir, "--log-format", "json"], {
    env: {
      DATABASE_URL: db.url,
      NATS_URL: nats.url,
      NOETL_ENCRYPTION_KEY: ENCRYPTION_KEY,
      NOETL_RESULT_BYTES: "256MiB",
    },
  });
}

async function startWorker(): Promise<Bun.Subprocess> {
  const address = `127.0.0.1:${String(server.fields["grpc_port"])}`;
  const flags = ["--pool", "default", "--server", address, "--metrics-port", "0"];
  return Bun.spawn([await noetlBinary(), "worker", ...flags], {
    env: { PATH: "/usr/bin:/bin", NATS_URL: nats.url, NOETL_RESULT_BYTES: "256MiB" },
    stdout: "ignore",
    stderr: "ignore",
  });
}

/** Kills the server as a crash would and starts it again where it was. */
async function restartServer(): Promise<void> {
  const { http_port: port, grpc_port: grpcPort } = server.fields;
  await server[Symbol.asyncDispose]();
  server = await startServer(Number(port), Number(grpcPort));
}

async function call(method: string, path: string, body?: JsonObject): Promise<JsonObject> {
  const text = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await fetch(`${server.url}${path}`, { method, ...text });
  return (await response.json()) as JsonObject;
}

async function execute(count: number, path = "test/large"): Promise<string> {
  const request = { path, payload: { count } };
  return String((await call("POST", "/api/execute", request))["execution_id"]);
}

async function resultOf(executionId: string): Promise<JsonObject> {
  return await waitFor(
    `the end of ${executionId}`,
    async () => {
      const row = await call("GET", `/api/executions/${executionId}`);
      if (row["status"] === "FAILED") {
        return row;
      }
      return row["status"] === "COMPLETED" && (row["result"] as JsonObject);
    },
    { deadlineMs: 90_000 },
  );
}

/** Growth of the server's peak over where it stood before, bytes. */
async function peakGrowth(act: () => Promise<unknown>): Promise<number> {
  const { pid } = server.process;
  const read = (field: string): number => {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) * 1024;
  };
  const before = read("VmRSS");
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
  await act();
  return read("VmHWM") - before;
}

/** Told to people: figures of the test's own measurements. */
function report(what: string, bytes: number): void {
  process.stdout.write(`  ${what}: server's peak +${(bytes / MIB).toFixed(1)} MiB\n`);
}

async function countRows(table: string): Promise<number> {
  return (await db.sql`SELECT 1 FROM ${db.sql(`noetl.${table}`)}`).length;
}

/** Pieces that do not compress, made as they are read. */
async function* randomBytes(mebibytes: number): AsyncGenerator<Uint8Array> {
  for (let n = 0; n < mebibytes; n++) {
    const piece = new Uint8Array(MIB);
    for (let from = 0; from < MIB; from += 65_536) {
      crypto.getRandomValues(piece.subarray(from, from + 65_536));
    }
    yield await Promise.resolve(piece);
  }
}

async function upload(executionId: string, name: string, mebibytes: number): Promise<Response> {
  const parts: Uint8Array[] = [];
  for await (const part of randomBytes(mebibytes)) {
    parts.push(part);
  }
  const init = { method: "PUT", body: Buffer.concat(parts) };
  return await fetch(`${server.url}/api/result/${executionId}/${name}`, init);
}

test(
  "a step's 50 MB and more are stored, routed on, templated and given back in bounded memory",
  async () => {
    await resultOf(await execute(2000));
    let executionId = "";
    const growths: number[] = [];
    const measure = async (what: string, act: () => Promise<unknown>): Promise<void> => {
      const growth = await peakGrowth(act);
      report(what, growth);
      growths.push(growth);
    };
    for (const megabytes of STEP_SIZES_MB) {
      const count = megabytes * 1000;
      await measure(`a step of ${megabytes} MB, guards, set, a step that reads it`, async () => {
        executionId = await execute(count);
        const expected = { one: 123, last: count - 1, length: count, total: count };
        expect(await resultOf(executionId)).toEqual(expected);
      });
    }

    const { steps } = (await call("GET", `/api/executions/${executionId}/steps`)) as {
      steps: readonly JsonObject[];
    };
    const start = steps.find(({ step }) => step === "start")?.["result"] as JsonObject;
    expect(start).toMatchObject({ label: "made", items: { _length: 150_000 } });
    expect(String(start["_preview"])).toStartWith('{"items":[{"id":0,');

    let size = 0;
    await measure("the same over HTTP", async () => {
      const ref = encodeURIComponent(String(start["_ref"]));
      const response = await fetch(`${server.url}/api/result/resolve?ref=${ref}`);
      for await (const chunk of response.body ?? []) {
        size += chunk.length;
      }
    });
    expect(size).toBe(Number(start["_size"]));
    expect(size).toBeGreaterThan(150_000_000);

    await measure("an upload of 200 MiB", async () => {
      expect((await upload(executionId, "large", 200)).status).toBe(200);
    });
    expect(Math.max(...growths)).toBeLessThan(GROWTH_MAX);
  },
  LIMIT_MS,
);

test(
  "a range, an ETag and a canonical URI are understood",
  async () => {
    const executionId = await execute(2000);
    await resultOf(executionId);
    const uri = encodeURIComponent(`noetl://default/default/results/${executionId}/start/0/0/1`);
    const url = `${server.url}/api/result/resolve?uri=${uri}`;
    const part = await fetch(url, { headers: { range: "bytes=2-6" } });
    expect([part.status, await part.text()]).toEqual([206, "items"]);
    expect(part.headers.get("content-range")).toMatch(/^bytes 2-6\/\d+$/);
    const etag = part.headers.get("etag") ?? "";
    expect(etag).toMatch(/^"[0-9a-f]{64}"$/);
    expect((await fetch(url, { headers: { "if-none-match": etag } })).status).toBe(304);
    const beyond = await fetch(url, { headers: { range: "bytes=99999999-" } });
    expect(beyond.status).toBe(416);
  },
  LIMIT_MS,
);

test(
  "loops keep large items as references, in order, and read each by itself",
  async () => {
    const executionId = await execute(0, "test/loops");
    const result = await resultOf(executionId);
    expect(result["pick"]).toEqual({ third: 9, length: 30, isStored: true });
    expect(result["again"]).toEqual(Array.from({ length: 30 }, (_, n) => [n * n, 100_000]));
    expect(result["over"]).toEqual(Array.from({ length: 40 }, (_, n) => n * 1_000_000 + 200_000));
    const item = encodeURIComponent(`noetl://default/default/results/${executionId}/start/0/7/1`);
    const answer = await call("GET", `/api/result/resolve?uri=${item}`);
    expect(answer["square"]).toBe(49);
  },
  LIMIT_MS,
);

test(
  "noetl result prints, saves, lists, stores and deletes values",
  async () => {
    const executionId = await execute(2000);
    await resultOf(executionId);
    const env = { NOETL_SERVER_URL: server.url };
    const run = async (...args: string[]) => await runNoetl(["result", ...args], { env });
    const shown = await run(executionId, "read");
    expect(JSON.parse(shown.stdout)).toMatchObject({ one: 123, length: 2000 });

    const file = join(dir, "start.json");
    expect((await run(executionId, "start", "-o", file)).exitCode).toBe(0);
    expect(JSON.parse(readFileSync(file, "utf8")).items).toHaveLength(2000);

    writeFileSync(join(dir, "note.txt"), "kept apart");
    const put = await run("put", executionId, "note", join(dir, "note.txt"), "--ttl", "1h");
    const ref = put.stdout.trim().split(" ").at(-1) ?? "";
    expect((await run("list", executionId, "--name", "note")).stdout).toContain(ref);
    expect((await run("get", ref)).stdout).toBe("kept apart\n");
    expect((await run("delete", ref)).exitCode).toBe(0);
    const gone = await run("get", ref);
    expect([gone.exitCode, gone.stderr]).toEqual([1, expect.stringContaining("no stored value")]);
  },
  LIMIT_MS,
);

test(
  "a server killed in the middle of a worker's upload loses nothing",
  async () => {
    const before = await countRows("result_chunk");
    const executionId = await execute(40_000);
    await waitFor("some of the upload", async () => (await countRows("result_chunk")) > before + 2);
    await restartServer();
    const expected = { one: 123, last: 39_999, length: 40_000, total: 40_000 };
    expect(await resultOf(executionId)).toEqual(expected);
  },
  LIMIT_MS,
);

test(
  "what a killed server had of an upload cannot be read and is swept",
  async () => {
    // An execution of another playbook would do as well: only its id is needed.
    const executionId = await execute(10);
    await resultOf(executionId);
    const before = await countRows("result_chunk");
    const sending = upload(executionId, "half", 200).catch((error: unknown) => error);
    await waitFor("some of the upload", async () => (await countRows("result_chunk")) > before + 5);
    await restartServer();
    expect(await sending).toBeInstanceOf(Error);
    const half = await fetch(`${server.url}/api/result/${executionId}/half`);
    expect(half.status).toBe(404);
    expect(await countRows("result_loose")).toBeGreaterThan(0);
    // Ten minutes later.
    await db.sql`UPDATE noetl.result_loose SET due_at = now() - interval '1 second'`;
    await restartServer();
    await waitFor("the sweep", async () => (await countRows("result_loose")) === 0);
    const held = await db.sql<{ n: number }[]>`
      SELECT coalesce(sum(cardinality(string_to_array(frames, ','))), 0)::int AS n
      FROM noetl.result_body`;
    expect(await countRows("result_chunk")).toBe(held[0]?.n ?? 0);
  },
  LIMIT_MS,
);
