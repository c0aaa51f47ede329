import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Ledger } from "../../../src/tools/javascript/ledger.ts";
import { createTools } from "../../../src/tools/registry.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import type { Ran } from "./call.ts";
import { run, valueFrom } from "./call.ts";

const tools = createTools({ selfCommand: [process.execPath, "src/main.ts"], env: process.env });
const tool = tools.get("javascript");
const folder = makeScratchDir("javascript-queue");
afterAll(() => tools.close());

const HANG = "console.log('here'); for (;;) {}";
const NOTE = "require('node:fs').appendFileSync(file, id + '\\n');";

const go = (code: string, input: Record<string, string | number> = {}, signal?: AbortSignal) =>
  run(tool, { config: { code }, input, ...(signal === undefined ? {} : { signal }) });
const idsIn = (file: string): number[] => readFileSync(file, "utf8").trim().split("\n").map(Number);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
const byNumber = (a: number, b: number): number => a - b;

/** So that the pool has learnt that tasks are short and sends them together. */
async function sendShortOnes(): Promise<void> {
  for (let round = 0; round < 8; round++) {
    await Promise.all(upTo(64).map(() => valueFrom(tool, { config: { code: "return 1" } })));
  }
}

describe("tasks that were sent together", () => {
  beforeAll(sendShortOnes);

  test("end with their own values, in a single runner", async () => {
    const rans = await Promise.all(upTo(200).map((id) => go("return [id, process.pid]", { id })));
    const values = rans.map(({ outcome }) => (outcome.ok ? outcome.value : []) as number[]);
    expect(values.map(([id]) => id)).toEqual(upTo(200));
    expect(new Set(values.map(([, pid]) => pid)).size).toBeLessThan(5);
  });

  test("do not wait for one among them that hangs, nor do those before it", async () => {
    const stop = new AbortController();
    const before = upTo(5).map((id) => go("return id", { id }));
    const hanging = go(HANG, {}, stop.signal);
    const after = upTo(20).map((id) => go("return id", { id }));
    const rans = await Promise.all([...before, ...after]);
    expect(rans.every(({ outcome }) => outcome.ok)).toBe(true);
    stop.abort();
    expect((await hanging).outcome).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
  });

  test("run once each, however often they are taken back", async () => {
    const file = join(folder, "races");
    const code = `${NOTE} const end = performance.now() + ms; while (performance.now() < end) {}`;
    const lengths = [0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 4.9, 5.1, 0, 0, 0];
    const rans = await Promise.all(
      upTo(400).map((id) => go(code, { file, id, ms: lengths[id % lengths.length] ?? 0 })),
    );
    expect(rans.every(({ outcome }) => outcome.ok)).toBe(true);
    expect(idsIn(file).sort(byNumber)).toEqual(upTo(400));
  });

  test("survive the death of their runner, and those that had run do not run again", async () => {
    await sendShortOnes();
    const file = join(folder, "deaths");
    const die = `${NOTE} process.kill(process.pid, 'SIGKILL'); for (;;) {}`;
    const isDeadly = (id: number): boolean => id % 20 === 10;
    const rans = await Promise.all(
      upTo(60).map((id) => go(isDeadly(id) ? die : `${NOTE} return id`, { file, id })),
    );
    expect(rans.map(({ outcome }) => outcome.ok)).toEqual(upTo(60).map((id) => !isDeadly(id)));
    expect(rans[10]?.outcome).toMatchObject({ failure: { kind: "exit_code", code: "SIGKILL" } });
    expect(idsIn(file).sort(byNumber)).toEqual(upTo(60));
  });

  test("are stopped before they start without harm to the one that runs", async () => {
    await sendShortOnes();
    const [flag, file] = [join(folder, "flag"), join(folder, "stopped")];
    const started = Promise.withResolvers<void>();
    const head = run(tool, {
      config: {
        code: "console.log('here'); while (!require('node:fs').existsSync(flag)) {} return 'ok'",
      },
      input: { flag },
      onLog: () => started.resolve(),
    });
    const stop = new AbortController();
    const queued = go(NOTE, { file, id: 1 }, stop.signal);
    stop.abort();
    expect((await queued).outcome).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
    await started.promise;
    writeFileSync(flag, "");
    expect((await head).outcome).toEqual({ ok: true, value: "ok" });
    expect(existsSync(file)).toBe(false);
  });

  test("keep their own output and their own stray promises", async () => {
    const stray = "Promise.resolve().then(() => console.log('stray')); return id";
    const rans: Ran[] = await Promise.all(
      upTo(60).map((id) => go(id % 2 === 0 ? stray : "console.log(id); return id", { id })),
    );
    expect(rans.map(({ logs }) => logs)).toEqual(
      upTo(60).map((id) => (id % 2 === 0 ? [] : [`stdout: ${id}`])),
    );
  });

  test("may have results too long for shared memory", async () => {
    const rans = await Promise.all(upTo(80).map((id) => go("return 'é'.repeat(id * 100)", { id })));
    const lengths = rans.map(({ outcome }) => (outcome.ok ? String(outcome.value).length : -1));
    expect(lengths).toEqual(upTo(80).map((id) => id * 100));
  });
});

test("two processes never both have a task", async () => {
  const ledger = Ledger.create();
  const runner = Bun.spawn(
    [process.execPath, join(import.meta.dir, "ledger-runner.ts"), ledger.path],
    {
      stdin: "pipe",
      stdout: "pipe",
    },
  );
  const lines = runner.stdout.getReader();
  const kept: number[] = [];
  let sent = 0;
  for (let round = 0; round < 2000; round++) {
    const first = sent + 1;
    sent += 32;
    runner.stdin.write(`${sent}\n`);
    await runner.stdin.flush();
    for (let spins = (round % 40) * 200; spins > 0 && ledger.last < sent; spins--) {}
    const last = ledger.takeBack(sent);
    kept.push(
      ...upTo(32)
        .map((index) => first + index)
        .filter((number) => number > last),
    );
    await lines.read();
  }
  void runner.stdin.end();
  ledger.release();
  const rest: Uint8Array[] = [];
  for (let part = await lines.read(); !part.done; part = await lines.read()) {
    rest.push(part.value);
  }
  const started = Buffer.concat(rest)
    .toString()
    .split("\n")
    .slice(1)
    .join("")
    .split(",")
    .map(Number);
  expect([...kept, ...started].sort(byNumber)).toEqual(upTo(sent).map((index) => index + 1));
  expect(Math.min(kept.length, started.length)).toBeGreaterThan(0);
});
