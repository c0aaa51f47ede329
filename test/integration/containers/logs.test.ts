import { expect, test } from "bun:test";
import { shellSpec } from "../../support/container-runtime.ts";
import { describeRuntimes, linesOf, NEVER } from "./runtimes.ts";

interface Line {
  readonly stream: string;
  readonly line: string;
  readonly timeMs: number;
}

describeRuntimes("output", (world) => {
  test("keeps streams apart, in order, with times, and takes any bytes", async () => {
    const { runtime, start } = world();
    const handle = await start(
      shellSpec(
        "echo one; sleep 0.03; echo two >&2; sleep 0.03; printf '\\377\\376x\\n'; echo; printf 'crlf\\r\\n'; printf 'no newline'",
      ),
    );
    const lines: Line[] = [];
    await runtime.logs(handle, { signal: NEVER }, (stream, line, timeMs) => {
      lines.push({ stream, line, timeMs });
    });
    expect(lines.map(({ stream, line }) => `${stream} ${line}`)).toEqual([
      "stdout one",
      "stderr two",
      "stdout \uFFFD\uFFFDx",
      "stdout ",
      "stdout crlf",
      "stdout no newline",
    ]);
    const times = lines.map(({ timeMs }) => timeMs);
    expect(times).toEqual(times.map(Math.floor).sort((a, b) => a - b));
    expect(times[1]).toBeGreaterThan(times[0] ?? 0);
  });

  test("joins what the runtime has cut, and cuts lines that are too long", async () => {
    const { runtime, start } = world();
    const handle = await start(
      shellSpec(
        "head -c 40000 /dev/zero | tr '\\0' a; echo; for i in 1 2 3; do printf $i; sleep 0.05; done; echo;" +
          "head -c 200000 /dev/zero | tr '\\0' b; echo; echo end",
      ),
    );
    const lines = await linesOf(runtime, handle);
    expect(lines.map((line) => `${line.slice(0, 9)} ${line.length - 7}`)).toEqual([
      "stdout aa 40000",
      "stdout 12 3",
      `stdout bb ${64 * 1024}`,
      `stdout bb ${64 * 1024}`,
      `stdout bb ${64 * 1024}`,
      `stdout bb ${200_000 - 3 * 64 * 1024}`,
      "stdout en 3",
    ]);
  });

  test("collapses progress bars to their last state", async () => {
    const { runtime, start } = world();
    const handle = await start(
      shellSpec("for i in 1 2 3 4 5; do printf \"step $i\\r\" >&2; done; printf 'done\\r\\n' >&2"),
    );
    expect(await linesOf(runtime, handle)).toEqual(["stderr done"]);
  });

  test("is neither lost nor doubled where another worker goes on, within one millisecond", async () => {
    const { runtime, start, test: place } = world();
    const count = 3000;
    const handle = await start(
      shellSpec(
        `i=0; while [ $i -lt ${count} ]; do i=$((i+1)); echo $i; done; sleep 0.2; echo end`,
      ),
    );
    const lines: Line[] = [];
    const dies = new AbortController();
    await runtime.logs(handle, { signal: dies.signal }, (stream, line, timeMs) => {
      if (!dies.signal.aborted) {
        lines.push({ stream, line, timeMs });
      }
      if (lines.length === 1234) {
        dies.abort();
      }
    });
    expect(lines.length).toBe(1234);
    const sinceMs = lines.at(-1)?.timeMs ?? 0;
    const seenCount = lines.filter(({ timeMs }) => timeMs === sinceMs).length;
    await place
      .connect()
      .logs(handle, { sinceMs, seenCount, signal: NEVER }, (stream, line, timeMs) => {
        lines.push({ stream, line, timeMs });
      });
    const wanted = Array.from({ length: count }, (_, index) => String(index + 1));
    expect(lines.map(({ line }) => line)).toEqual([...wanted, "end"]);
  });

  test("of the last millisecond is not given again to one who does not say what he has", async () => {
    const { runtime, start, test: place } = world();
    const handle = await start(shellSpec("echo first; sleep 0.1; echo second"));
    const lines: Line[] = [];
    await runtime.logs(handle, { signal: NEVER }, (stream, line, timeMs) => {
      lines.push({ stream, line, timeMs });
    });
    const again: string[] = [];
    const sinceMs = lines[0]?.timeMs ?? 0;
    await place.connect().logs(handle, { sinceMs, signal: NEVER }, (_, line) => again.push(line));
    expect(again).toEqual(["second"]);
  });

  test("comes while the task runs, and all of it before the end", async () => {
    const { runtime, start } = world();
    const handle = await start(
      shellSpec(
        "echo live; while [ ! -e /noetl/go ]; do sleep 0.02; done; seq 1 20000; touch /noetl/x",
      ),
    );
    const lines: string[] = [];
    const seen = Promise.withResolvers<void>();
    const logs = runtime.logs(handle, { signal: NEVER }, (_, line) => {
      lines.push(line);
      seen.resolve();
    });
    await seen.promise;
    const { test: place } = world();
    await Bun.write(`${place.dir}/tasks/${runtime.name}/${handle.name}/noetl/go`, "");
    await logs;
    expect(lines.length).toBe(20_001);
    expect(lines.at(-1)).toBe("20000");
  });
});
