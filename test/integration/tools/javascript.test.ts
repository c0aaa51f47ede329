import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { createTools } from "../../../src/tools/registry.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import type { Call, Ran } from "./call.ts";
import { failureFrom, run, valueFrom } from "./call.ts";
import { waitUntilGone } from "./process.ts";

const tools = createTools({
  selfCommand: [process.execPath, "src/main.ts"],
  env: process.env,
  maxOutputBytes: 16 * 1024 * 1024,
  memoryBytes: 600 * 1024 * 1024,
});
afterAll(() => tools.close());
const tool = tools.get("javascript");

const value = (code: string, input: JsonObject = {}, more: Partial<Call> = {}): Promise<Json> =>
  valueFrom(tool, { config: { code }, input, ...more });
const failed = (code: string, input: JsonObject = {}, more: Partial<Call> = {}) =>
  failureFrom(tool, { config: { code }, input, ...more });

async function startHanging(
  code: string,
  signal: AbortSignal,
): Promise<{ readonly ended: Promise<Ran> }> {
  const ready = Promise.withResolvers<void>();
  const ended = run(tool, { config: { code }, signal, onLog: () => ready.resolve() });
  await ready.promise;
  return { ended };
}

describe("calling convention", () => {
  test("gives `result`, what it returns, or what main returns", async () => {
    expect(await value("result = { sum: a + b }", { a: 1, b: 2 })).toEqual({ sum: 3 });
    expect(await value("const result = 7")).toBe(7);
    expect(await value("if (a) { return a } result = 0 // end", { a: 5 })).toBe(5);
    expect(await value("const x = 1")).toBeNull();
  });

  test("calls main by name, destructured, async or as an arrow", async () => {
    const input = { a: 1, b: 2 };
    expect(await value("function main(b, a, c = 3) { return [a, b, c] }", input)).toEqual([
      1, 2, 3,
    ]);
    expect(await value("function main({ a, b }) { return a + b }", input)).toBe(3);
    expect(await value("const main = (input, step) => [input, step]", input)).toEqual([
      input,
      "a_step",
    ]);
    const sleepy =
      "async function main(a) { await new Promise((r) => setTimeout(r, 1)); return a }";
    expect(await value(sleepy, input)).toBe(1);
    expect(await failed("function main(q) {}", input)).toMatchObject({ code: "INPUT_MISSING" });
  });

  test("offers input_data, args, context, ids and loop names", async () => {
    const code = "return [input_data, args, context.w, variables.w, execution_id, item, iter.item]";
    const names = { item: "i", iter: { item: "i" } };
    expect(await value(code, { x: 1 }, { context: { w: 2 }, names })).toEqual([
      { x: 1 },
      { x: 1 },
      2,
      2,
      "7300000000000000001",
      "i",
      "i",
    ]);
  });

  test("takes inputs whose names are no identifiers from input_data", async () => {
    const input = { class: 1, "a-b": 2, result: 3 };
    expect(await value("result = [input_data.class, args['a-b'], result]", input)).toEqual([
      1, 2, 3,
    ]);
  });

  test("awaits at top level, imports and requires", async () => {
    const code = "const { sep } = await import('node:path'); return sep + require('node:os').EOL";
    expect(await value(code)).toBe("/\n");
    const libs = { path: "node:path", join: { from: "node:path", import: "join" } };
    const config = { code: "return join('a', path.sep)", libs };
    expect(await valueFrom(tool, { config })).toBe("a/");
  });

  test("strips TypeScript", async () => {
    const code = "interface In { n: number }\nfunction main({ n }: In): number { return n! * 2 }";
    expect(await valueFrom(tools.get("typescript"), { config: { code }, input: { n: 4 } })).toBe(8);
    const mixed = "enum E { A = 4 }\nconst n: number = await Promise.resolve(2);\nreturn n + E.A";
    expect(await valueFrom(tools.get("typescript"), { config: { code: mixed } })).toBe(6);
    const bad = { config: { code: "let x: number = ;" } };
    expect(await failureFrom(tools.get("typescript"), bad)).toMatchObject({
      code: "SyntaxError",
      message: expect.stringContaining("line 1, column 17"),
    });
  });

  test("runs script files, and with env and cwd of its own", async () => {
    const path = join(makeScratchDir("javascript"), "hello.js");
    await Bun.write(path, "function main(name) { return 'hello ' + name }");
    const script = { uri: path, source: { type: "file" } };
    expect(await valueFrom(tool, { config: { script }, input: { name: "x" } })).toBe("hello x");
    const code = "return [process.env.GREETING, process.cwd()]";
    const config = { code, env: { GREETING: "hi" }, cwd: "/" };
    expect(await valueFrom(tool, { config })).toEqual(["hi", "/"]);
  });
});

describe("results and output", () => {
  test("makes JSON of what is not", async () => {
    const code =
      "return { big: 2n ** 64n, map: new Map([['a', 1]]), set: new Set([1]), nan: NaN," +
      " date: new Date(0), bytes: new Uint8Array([1, 2]), error: new Error('x'), none: undefined }";
    expect(await value(code)).toEqual({
      big: "18446744073709551616",
      map: { a: 1 },
      set: [1],
      nan: null,
      date: "1970-01-01T00:00:00.000Z",
      bytes: "AQI=",
      error: { name: "Error", message: "x" },
    });
  });

  test("carries 5 MB and Unicode in and out", async () => {
    const big = "ž🐎".repeat(800_000);
    expect(await value("return big", { big })).toBe(big);
  });

  test("refuses a result over the limit", async () => {
    expect(await failed("return 'x'.repeat(17e6)")).toMatchObject({ kind: "limit" });
  });

  test("takes what console and process.stdout print", async () => {
    const code =
      "console.log('one', { a: 1 }); process.stdout.write('tw'); console.log('o');" +
      " console.error(new TypeError('three')); process.stdout.write('half')";
    const { logs } = await run(tool, { config: { code } });
    expect(logs.slice(0, 3)).toEqual([
      "stdout: one { a: 1 }",
      "stdout: two",
      "stderr: TypeError: three",
    ]);
    expect(logs[3]).toContain("task.js:1:");
    expect(logs.at(-1)).toBe("stdout: half");
  });

  test("takes what subprocesses print", async () => {
    const stop = new AbortController();
    const code =
      "require('child_process').execSync('echo raw', { stdio: 'inherit' });" +
      " await new Promise(() => undefined)";
    const { logs } = await run(tool, {
      config: { code },
      signal: stop.signal,
      onLog: () => stop.abort(),
    });
    expect(logs).toEqual(["stdout: raw"]);
  });

  test("output arrives while the task blocks", async () => {
    const stop = new AbortController();
    const { ended } = await startHanging("console.log('ready'); for (;;);", stop.signal);
    stop.abort();
    expect((await ended).logs).toEqual(["stdout: ready"]);
  });
});

describe("failures", () => {
  test("an exception has its class, message and the task's own stack", async () => {
    const code = "function f() {\n  throw new TypeError('bad')\n}\nf()";
    const failure = await failed(code);
    expect(failure).toMatchObject({
      kind: "exit_code",
      code: "TypeError",
      message: "TypeError: bad",
    });
    expect(failure.stderr?.split("\n").length).toBe(3);
    expect(failure.stderr).toContain("at f (task.js:2:");
    expect(failure.stderr).toContain("(task.js:4:");
  });

  test("an exception in TypeScript too", async () => {
    const config = { code: "const n: number = 1;\nthrow new RangeError('bad ' + n);" };
    const failure = await failureFrom(tools.get("typescript"), { config });
    expect(failure).toMatchObject({ kind: "exit_code", message: "RangeError: bad 1" });
    expect(failure.stderr).toContain("(task.ts:");
  });

  test("a syntax error says where", async () => {
    const failure = await failed("let a = 1;\nlet b = = 2;");
    expect(failure.code).toBe("SyntaxError");
    expect(failure.message).toContain("line 2");
  });

  test("an error in a timer fails the task, a process that exits too", async () => {
    const late =
      "setTimeout(() => { throw new RangeError('late') }, 1); await new Promise(() => {})";
    expect(await failed(late)).toMatchObject({ code: "RangeError" });
    expect(await failed("process.exit(3)")).toMatchObject({ code: "EXIT_3" });
    expect(await value("return 1")).toBe(1);
  });

  test("a runner that cannot start is one", async () => {
    const broken = createTools({ selfCommand: ["false"], env: {} });
    expect(await failureFrom(broken.get("javascript"), { config: { code: "1" } })).toMatchObject({
      code: "RUNNER_MISSING",
    });
    await broken.close();
  });
});

describe("isolation", () => {
  test("builtins and globals cannot be changed", async () => {
    const attempts = [
      "globalThis.leak = 1",
      "leak = 1",
      "Array.prototype.leak = 1",
      "({}).__proto__.leak = 1",
      "Math.random = () => 4",
      "JSON.parse = null",
      "globalThis.fetch = null",
      "console.log = null",
      "process.env.LEAK = '1'",
      "Bun.env.LEAK = '1'",
      "Object.prototype.toString = null",
      "delete globalThis.Array",
      "Bun.leak = 1",
    ];
    for (const attempt of attempts) {
      expect((await failed(attempt)).code, attempt).toMatch(/^(TypeError|ReferenceError)$/);
    }
    const probe = "return [typeof leak, [].leak, ({}).leak, process.env.LEAK, typeof Array]";
    expect(await value(probe)).toEqual(["undefined", null, null, null, "function"]);
  });

  test("what code does to its own objects still works", async () => {
    const code = `
      class MyError extends Error { constructor(m) { super(m); this.name = "MyError"; this.message += "!"; } }
      function Old() {}
      Old.prototype = Object.create(Object.prototype);
      Old.prototype.constructor = Old;
      Old.prototype.toString = () => "old";
      const plain = {}; plain.toString = () => "plain"; plain.constructor = 1; plain.valueOf = 2;
      try { throw new MyError("x") } catch (e) { return [String(e), String(new Old()), String(plain)] }`;
    expect(await value(code)).toEqual(["MyError: x!", "old", "plain"]);
  });

  test("a task's variables, functions and timers end with it", async () => {
    await value("var a = 1; function helper() {} setInterval(() => console.log('leak'), 1)");
    const code = "await new Promise((r) => setTimeout(r, 20)); return [typeof a, typeof helper]";
    const { outcome, logs } = await run(tool, { config: { code } });
    expect(outcome).toMatchObject({ value: ["undefined", "undefined"] });
    expect(logs).toEqual([]);
  });

  test("the same code starts afresh each time", async () => {
    const code =
      "let count = 0; const seen = []; function main(n) { seen.push(n); return [++count, seen] }";
    expect(await value(code, { n: 1 })).toEqual([1, [1]]);
    expect(await value(code, { n: 2 })).toEqual([1, [2]]);
  });

  test("an endless loop is killed with what it started, and the next task runs", async () => {
    const stop = new AbortController();
    const code =
      "const child = require('child_process').spawn('sleep', ['60']); console.log(child.pid); for (;;);";
    const { ended } = await startHanging(code, stop.signal);
    stop.abort();
    const { outcome, logs } = await ended;
    expect(outcome).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
    await waitUntilGone(Number(logs[0]?.split(" ")[1]));
    expect(await value("return 1")).toBe(1);
  });

  test("a hanging task does not hold up others", async () => {
    const stop = new AbortController();
    const { ended } = await startHanging("console.log('ready'); for (;;);", stop.signal);
    const all = Array.from({ length: 100 }, (_, n) => n);
    expect(await Promise.all(all.map((n) => value("return n", { n })))).toEqual(all);
    stop.abort();
    expect((await ended).outcome.ok).toBe(false);
  });

  test("a timeout is told from a cancel", async () => {
    const signal = AbortSignal.timeout(50);
    expect(await failed("for (;;);", {}, { signal })).toMatchObject({ kind: "timeout" });
  });

  test("a task over the memory limit is killed, not its worker", async () => {
    const code = "const all = []; for (;;) { all.push(new Float64Array(1e6).fill(1)); await 1 }";
    expect(await failed(code)).toMatchObject({ kind: "oom_host" });
    expect(await value("return 1")).toBe(1);
  });
});

test("runners end when their worker is killed in the middle of endless loops", async () => {
  const script = `
    import { createTools } from "${process.cwd()}/src/tools/registry.ts";
    const tools = createTools({ selfCommand: [process.execPath, "src/main.ts"], env: process.env });
    const context = { signal: new AbortController().signal, log: (_, line) => console.log(line) };
    const call = { label: "t", input: {}, context: {}, names: {}, executionId: "1", step: "s" };
    tools.get("javascript").run({ ...call, config: { code: "console.log(process.pid); for (;;);" } }, context);
    tools.get("python").run({ ...call, config: { code: "import os\\nprint(os.getpid())\\nwhile True: pass" } }, context);`;
  const worker = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
  const pids: number[] = [];
  for await (const chunk of worker.stdout) {
    pids.push(...new TextDecoder().decode(chunk).trim().split("\n").map(Number));
    if (pids.length === 2) {
      break;
    }
  }
  worker.kill("SIGKILL");
  await Promise.all(pids.map(waitUntilGone));
  expect(pids.length).toBe(2);
});
