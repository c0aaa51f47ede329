import { describe, expect, test } from "bun:test";
import { createShellTool } from "../../../src/tools/shell.ts";
import { failureFrom, run, valueFrom } from "./call.ts";
import { waitUntilGone } from "./process.ts";

const tool = createShellTool({ env: process.env });

describe("shell", () => {
  test("gives exit code and output, and the lines as logs", async () => {
    const config = { command: "echo out; echo err >&2; printf half" };
    const { outcome, logs } = await run(tool, { config });
    expect(outcome).toEqual({
      ok: true,
      value: { exit_code: 0, stdout: "out\nhalf\n", stderr: "err\n" },
    });
    expect([...logs].sort()).toEqual(["stderr: err", "stdout: half", "stdout: out"]);
  });

  test("runs cmds in order and stops at the first that fails", async () => {
    const { outcome } = await run(tool, {
      config: { cmds: ["echo a", "echo b; exit 3", "echo c"] },
    });
    expect(outcome).toMatchObject({
      ok: false,
      value: { exit_code: 3, stdout: "a\nb\n" },
      failure: { kind: "exit_code", code: "EXIT_3" },
    });
  });

  test("takes a script of several lines, and braces of other languages as they are", async () => {
    const script = "x='{{.Names}}'\necho \"$x\"";
    expect(await valueFrom(tool, { config: { script } })).toMatchObject({
      stdout: "{{.Names}}\n",
    });
  });

  test("a failure has the end of stderr", async () => {
    const failure = await failureFrom(tool, { config: { command: "echo why >&2; exit 1" } });
    expect(failure.message).toBe("the command exited with code 1: why");
    expect(failure.stderr).toBe("why\n");
  });

  test("has input, env, cwd and shell", async () => {
    const config = {
      command: 'echo "$NOETL_INPUT $A $PWD $0"',
      env: { A: 5 },
      cwd: "/tmp",
      shell: "bash",
    };
    const value = await valueFrom(tool, { config, input: { x: 1 } });
    expect(value).toMatchObject({ stdout: '{"x":1} 5 /tmp bash\n' });
    const missing = { command: "true", shell: "/no/such" };
    expect(await failureFrom(tool, { config: missing })).toMatchObject({ code: "SHELL_MISSING" });
  });

  test("keeps the end of very long output and says so", async () => {
    const value = await valueFrom(tool, { config: { command: "seq 1 600000" } });
    const { stdout } = value as { stdout: string };
    expect(stdout.length).toBeLessThan(1_100_000);
    expect(stdout.startsWith("[")).toBe(true);
    expect(stdout.endsWith("600000\n")).toBe(true);
  });

  test("something left in the background neither holds the task nor outlives it", async () => {
    const value = await valueFrom(tool, { config: { command: "sleep 60 & echo $!" } });
    await waitUntilGone(Number((value as { stdout: string }).stdout));
    expect(value).toMatchObject({ exit_code: 0 });
  });

  test("an aborted command is ended with all that it has started", async () => {
    const stop = new AbortController();
    const { outcome, logs } = await run(tool, {
      config: { command: "sleep 60 & echo $!; wait" },
      signal: stop.signal,
      onLog: () => stop.abort(),
    });
    expect(outcome).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
    await waitUntilGone(Number(logs[0]?.split(" ")[1]));
  });

  test("a command that ignores SIGTERM is killed", async () => {
    const stop = new AbortController();
    const { outcome } = await run(tool, {
      config: { command: "trap '' TERM; echo ready; while true; do sleep 0.1; done" },
      signal: stop.signal,
      onLog: () => stop.abort(),
    });
    expect(outcome).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
  });
});
