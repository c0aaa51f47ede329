import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { JsonObject } from "../../../src/core/json.ts";
import { createPythonTool } from "../../../src/tools/python.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import type { Call, Ran } from "./call.ts";
import { failureFrom, run, valueFrom } from "./call.ts";
import { isAlive, waitUntilGone } from "./process.ts";

const tool = createPythonTool({
  python: "python3",
  env: process.env,
  maxOutputBytes: 16 * 1024 * 1024,
  memoryBytes: undefined,
});
afterAll(() => tool.close());

const value = (code: string, input: JsonObject = {}, more: Partial<Call> = {}) =>
  valueFrom(tool, { config: { code }, input, ...more });
const failed = (code: string, input: JsonObject = {}, more: Partial<Call> = {}) =>
  failureFrom(tool, { config: { code }, input, ...more });

/** A task that says `ready` and then hangs; resolves once it has said so. */
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
  test("gives the global `result`", async () => {
    expect(await value("result = {'sum': a + b}", { a: 1, b: 2 })).toEqual({ sum: 3 });
    expect(await value("x = 1")).toBeNull();
  });

  test("gives what a top-level return returns, at any depth", async () => {
    expect(await value("return {'a': a}", { a: 1 })).toEqual({ a: 1 });
    const code = "total = 0\nfor n in ns:\n  if n > 2:\n    return n\n  total += n\nresult = total";
    expect(await value(code, { ns: [1, 2, 3] })).toBe(3);
    expect(await value(code, { ns: [1, 2] })).toBe(3);
  });

  test("names of a text with a top-level return are global", async () => {
    const code =
      "base = 10\ndef add(n):\n  return base + n\nimport math\nreturn add(math.floor(1.5))";
    expect(await value(code)).toBe(11);
  });

  test("calls main with arguments by name", async () => {
    const code = "def main(a, b=5, /, *, c, **rest):\n  return [a, b, c, rest]";
    expect(await value(code, { a: 1, c: 3, d: 4 })).toEqual([1, 5, 3, { d: 4 }]);
    expect(
      await value("def main(input_data, step):\n  return [input_data, step]", { x: 1 }),
    ).toEqual([{ x: 1 }, "a_step"]);
  });

  test("gives a decorated main and one with defaults what they ask for", async () => {
    const wrap =
      "import functools\ndef twice(f):\n    @functools.wraps(f)\n" +
      "    def g(*args, **names): return [f(*args, **names)] * 2\n    return g\n";
    const input = { a: 1, b: 2 };
    expect(await value(`${wrap}@twice\ndef main(b, a): return [a, b]`, input)).toEqual([
      [1, 2],
      [1, 2],
    ]);
    expect(await value("def main(a, c=3, /, b=4): return [a, b, c]", input)).toEqual([1, 2, 3]);
    expect(await value("def main(a, b=4): return [a, b]", input)).toEqual([1, 2]);
  });

  test("awaits an async main", async () => {
    const code = "import asyncio\nasync def main(n):\n  await asyncio.sleep(0)\n  return n * 2";
    expect(await value(code, { n: 4 })).toBe(8);
  });

  test("names what main lacks", async () => {
    const failure = await failed("def main(a, b): pass", { a: 1, c: 2 });
    expect(failure).toMatchObject({ kind: "schema", code: "INPUT_MISSING" });
    expect(failure.message).toContain('"b"');
  });

  test("an input named result is not mistaken for the result", async () => {
    expect(await value("def main(result): return result + 1", { result: 1 })).toBe(2);
    expect(await value("result = {'was': result}", { result: 1 })).toEqual({ was: 1 });
  });

  test("offers input_data, args, context, variables, ids and loop names", async () => {
    const code =
      "result = [input_data, args, context['w'], variables['w'], execution_id, step, item," +
      " loop_index, iter['item'], list(iter([1]))]";
    const names = { item: "i", loop_index: 3, iter: { item: "i" } };
    expect(await value(code, { x: 1 }, { context: { w: 2 }, names })).toEqual([
      { x: 1 },
      { x: 1 },
      2,
      2,
      "7300000000000000001",
      "a_step",
      "i",
      3,
      "i",
      [1],
    ]);
  });

  test("an input named input_data wins", async () => {
    expect(await value("result = input_data", { input_data: { own: true } })).toEqual({
      own: true,
    });
  });

  test("imports libs under their names", async () => {
    const libs = {
      json: "json",
      D: { from: "decimal", import: "Decimal" },
      datetime: { from: "datetime", import: "datetime" },
      p: "os.path",
    };
    const code =
      "result = [json.dumps(1), str(D('1.10')), datetime(2024, 1, 2).isoformat(), p.sep]";
    expect(await valueFrom(tool, { config: { code, libs } })).toEqual([
      "1",
      "1.10",
      "2024-01-02T00:00:00",
      "/",
    ]);
    const list = { code: "result = os.path.sep + math.__name__", libs: ["os.path", "math"] };
    expect(await valueFrom(tool, { config: list })).toBe("/math");
  });

  test("runs under __main__, with env and cwd of the task", async () => {
    const code =
      "import os\nif __name__ == '__main__':\n  result = [os.environ['GREETING'], os.getcwd()]";
    const config = { code, env: { GREETING: "hi" }, cwd: "/" };
    expect(await valueFrom(tool, { config })).toEqual(["hi", "/"]);
  });

  test("runs a script file", async () => {
    const path = join(makeScratchDir("python"), "hello.py");
    await Bun.write(path, "def main(name):\n    return 'hello ' + name\n");
    const script = { uri: path, source: { type: "file" } };
    expect(await valueFrom(tool, { config: { script }, input: { name: "x" } })).toBe("hello x");
    expect(await failureFrom(tool, { config: { script: { uri: "/no/such.py" } } })).toMatchObject({
      kind: "not_found",
      code: "SCRIPT_NOT_FOUND",
    });
    const inline = { source: { type: "inline", code: "result = 1" } };
    expect(await valueFrom(tool, { config: { script: inline } })).toBe(1);
  });
});

describe("results", () => {
  test("makes JSON of what is not", async () => {
    const code = `
import datetime, decimal, uuid, enum
class Colour(enum.Enum):
    RED = "red"
class Other:
    def __str__(self):
        return "other"
result = {
    "set": {3, 1, 2}, "tuple": (1, 2), "date": datetime.date(2024, 1, 2),
    "decimal": decimal.Decimal("1.10"), "uuid": uuid.UUID(int=1), "bytes": b"hi",
    "raw": b"\\xff", "nan": float("nan"), "inf": [float("inf")], "enum": Colour.RED,
    "other": Other(), 1: "key", (1, 2): "pair", None: 0, "range": range(2), "gen": (n for n in [1]),
}`;
    expect(await value(code)).toEqual({
      "1": "key",
      "(1, 2)": "pair",
      null: 0,
      set: [1, 2, 3],
      tuple: [1, 2],
      date: "2024-01-02",
      decimal: "1.10",
      uuid: "00000000-0000-0000-0000-000000000001",
      bytes: "hi",
      raw: "/w==",
      nan: null,
      inf: [null],
      enum: "red",
      other: "other",
      range: [0, 1],
      gen: [1],
    });
  });

  test("keeps the digits of big integers, both ways", async () => {
    expect(await value("result = [2**63, n, n + 1]", { n: 9_007_199_254_740_991 })).toEqual([
      "9223372036854775808",
      9_007_199_254_740_991,
      "9007199254740992",
    ]);
  });

  test("keeps Unicode", async () => {
    expect(await value("print(s)\nresult = s", { s: "žluťoučký 🐎 \n\t" })).toBe(
      "žluťoučký 🐎 \n\t",
    );
  });

  test("carries 5 MB in and out", async () => {
    const big = "x".repeat(5_000_000);
    expect(await value("result = big", { big })).toBe(big);
  });

  test("refuses a result over the limit and one that contains itself", async () => {
    expect(await failed("result = 'x' * 17_000_000")).toMatchObject({
      kind: "limit",
      code: "RESULT_TOO_LARGE",
    });
    expect(await failed("a = []\na.append(a)\nresult = a")).toMatchObject({
      code: "RESULT_CIRCULAR",
    });
  });
});

describe("output", () => {
  test("takes lines of print, raw writes and subprocesses, in order", async () => {
    const code =
      "import os, subprocess, sys\nprint('one')\nos.write(1, b'two\\n')\n" +
      "subprocess.run('echo three', shell=True)\nprint('four')\nprint('half', end='')\n" +
      "print('problem', file=sys.stderr)";
    const { logs } = await run(tool, { config: { code } });
    const stdout = logs.filter((line) => line.startsWith("stdout"));
    expect(stdout).toEqual(
      ["one", "two", "three", "four", "half"].map((line) => `stdout: ${line}`),
    );
    expect(logs).toContain("stderr: problem");
  });

  test("takes all of 100,000 lines", async () => {
    const { logs } = await run(tool, { config: { code: "for n in range(100000): print(n)" } });
    expect(logs.length).toBe(100_000);
    expect(logs.at(-1)).toBe("stdout: 99999");
  });

  test("arrives while the task runs", async () => {
    const stop = new AbortController();
    const { ended } = await startHanging(
      "import time\nprint('ready')\ntime.sleep(60)",
      stop.signal,
    );
    stop.abort();
    expect((await ended).logs).toEqual(["stdout: ready"]);
  });
});

describe("failures", () => {
  test("an exception has its class, message and the task's own traceback", async () => {
    const failure = await failed("def f():\n    raise ValueError('boom')\n\nf()");
    expect(failure).toMatchObject({
      kind: "exit_code",
      code: "ValueError",
      message: "ValueError: boom",
      retryable: false,
    });
    expect(failure.stderr).toContain('File "task.py", line 2, in f');
    expect(failure.stderr).toContain("raise ValueError('boom')");
    expect(failure.stderr).not.toContain("noetl-python-host");
  });

  test("an assertion that fails is a failure", async () => {
    expect(await failed("assert x == 2, f'got {x}'", { x: 1 })).toMatchObject({
      code: "AssertionError",
      message: "AssertionError: got 1",
    });
  });

  test("a syntax error says where", async () => {
    const failure = await failed("x = 1\ny = = 2");
    expect(failure.code).toBe("SyntaxError");
    expect(failure.message).toContain("line 2");
  });

  test("exit codes are told, zero is success", async () => {
    expect(await failed("import sys\nsys.exit(3)")).toMatchObject({ code: "EXIT_3" });
    expect(await failed("import os\nos._exit(4)")).toMatchObject({ code: "EXIT_4" });
    expect(await failed("import os\nos.kill(os.getpid(), 11)")).toMatchObject({
      code: "SIGNAL_11",
    });
    expect(await value("import sys\nresult = 5\nsys.exit(0)")).toBe(5);
  });

  test("a missing interpreter is one", async () => {
    const none = createPythonTool({
      python: "/no/such/python",
      env: {},
      maxOutputBytes: 1,
      memoryBytes: undefined,
    });
    expect(await failureFrom(none, { config: { code: "result = 1" } })).toMatchObject({
      code: "PYTHON_MISSING",
    });
    await none.close();
  });
});

describe("isolation", () => {
  test("nothing passes from one task to the next", async () => {
    await value(
      "import builtins, json, os, sys\nleak = 1\nbuiltins.leak = 1\njson.leak = 1\n" +
        "os.environ['LEAK'] = '1'\nos.chdir('/')\nsys.path.append('leak')",
    );
    const code =
      "import builtins, json, os, sys\nresult = ['leak' in globals(), hasattr(builtins, 'leak')," +
      " hasattr(json, 'leak'), 'LEAK' in os.environ, 'leak' in sys.path, os.getcwd() == '/']";
    expect(await value(code)).toEqual([false, false, false, false, false, false]);
  });

  test("random numbers differ from task to task, also when the interpreter has them loaded", async () => {
    const code = "import tempfile, random\nresult = random.random()";
    await value(code);
    const numbers = await Promise.all(Array.from({ length: 8 }, () => value(code)));
    expect(new Set(numbers).size).toBe(8);
  });

  test("threads, forks and subprocesses work in a task", async () => {
    const code =
      "import os, subprocess, threading\nfrom concurrent.futures import ThreadPoolExecutor\n" +
      "with ThreadPoolExecutor(3) as pool: squares = list(pool.map(lambda n: n * n, range(4)))\n" +
      "pid = os.fork()\nif pid == 0: os._exit(7)\n" +
      "code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n" +
      "text = subprocess.run(['echo', 'hi'], capture_output=True, text=True).stdout\n" +
      "result = [squares, code, text, threading.current_thread() is threading.main_thread()]";
    expect(await value(code)).toEqual([[0, 1, 4, 9], 7, "hi\n", true]);
  });

  test("an aborted task is killed with all that it has started", async () => {
    const stop = new AbortController();
    const code =
      "import os, subprocess, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" +
      "child = subprocess.Popen(['sleep', '60'])\nprint(child.pid)\nwhile True: pass";
    const { ended } = await startHanging(code, stop.signal);
    stop.abort();
    const { outcome, logs } = await ended;
    expect(outcome).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
    await waitUntilGone(Number(logs[0]?.split(" ")[1]));
  });

  test("a timeout is told from a cancel", async () => {
    const signal = AbortSignal.timeout(100);
    expect(await failed("while True: pass", {}, { signal })).toMatchObject({
      kind: "timeout",
      retryable: true,
    });
  });

  test("a task that is aborted before it starts never does", async () => {
    expect(await failed("print('x')", {}, { signal: AbortSignal.abort() })).toMatchObject({
      kind: "cancelled",
    });
  });

  test("grandchildren left behind neither hold the task nor outlive it", async () => {
    const code = "import subprocess\nresult = subprocess.Popen(['sleep', '60']).pid";
    const pid = Number(await value(code));
    await waitUntilGone(pid);
    expect(isAlive(pid)).toBe(false);
  });

  test("a hanging neighbour and a killed one disturb no one", async () => {
    const stop = new AbortController();
    const { ended } = await startHanging("print('ready')\nwhile True: pass", stop.signal);
    const [killed, fine] = await Promise.all([
      failed("import os\nos.kill(os.getpid(), 9)"),
      value("result = 'fine'"),
    ]);
    expect(killed.code).toBe("SIGNAL_9");
    expect(fine).toBe("fine");
    stop.abort();
    expect((await ended).outcome.ok).toBe(false);
  });

  test("memory is limited by task", async () => {
    const code = "x = []\nwhile True: x.append(' ' * 10_000_000)";
    expect(await failureFrom(tool, { config: { code, memory_mb: 200 } })).toMatchObject({
      kind: "oom_host",
      code: "MemoryError",
    });
  });

  test("a task over the limit of the worker is killed", async () => {
    const small = createPythonTool({
      python: "python3",
      env: process.env,
      maxOutputBytes: 1000,
      memoryBytes: 100 * 1024 * 1024,
    });
    const code =
      "import time\nx = bytearray(150_000_000)\nx[::4096] = b'x' * len(x[::4096])\ntime.sleep(60)";
    expect(await failureFrom(small, { config: { code } })).toMatchObject({ kind: "oom_host" });
    expect(await valueFrom(small, { config: { code: "result = 1" } })).toBe(1);
    await small.close();
  });

  test("fifty tasks at once", async () => {
    const code = "import time\ntime.sleep(0.05)\nresult = n";
    const all = Array.from({ length: 50 }, (_, n) => n);
    expect(await Promise.all(all.map((n) => value(code, { n })))).toEqual(all);
  });

  test("when the interpreter is killed, running tasks fail and the next one runs", async () => {
    const code = "import os\nprint(os.getppid())\nwhile True: pass";
    const lost = Promise.withResolvers<number>();
    const running = run(tool, {
      config: { code },
      onLog: (_, line) => lost.resolve(Number(line)),
    });
    process.kill(await lost.promise, "SIGKILL");
    expect((await running).outcome).toMatchObject({
      ok: false,
      failure: { code: "TOOL_HOST_LOST", retryable: true },
    });
    expect(await value("result = 1")).toBe(1);
  });
});
