import { describe, expect, test } from "bun:test";
import { completionScript } from "../../../src/cli/completion.ts";
import type { CliContext } from "../../../src/cli/context.ts";
import { formatDuration, formatTable } from "../../../src/cli/format.ts";
import { findPools } from "../../../src/cli/pools.ts";
import { createProgram, runCommand } from "../../../src/cli/program.ts";

test("every command has a description, and flags appear once", () => {
  const program = createProgram(fakeContext().context, () => undefined);
  for (const command of program.commands) {
    expect(command.description(), command.name()).not.toBe("");
    const flags = command.options.map((option) => option.long);
    expect(new Set(flags).size, command.name()).toBe(flags.length);
  }
});

describe("runCommand()", () => {
  test("says that no server answers, where, and how to start one", async () => {
    const { context, notes } = fakeContext({ NOETL_SERVER_URL: "http://127.0.0.1:1" });
    expect(await runCommand(["list"], context)).toBe("unreachable");
    expect(notes.join("\n")).toContain("No noetl server answers at http://127.0.0.1:1");
    expect(notes.join("\n")).toContain("noetl up");
  });

  test.each([
    [["list", "nonsense"], {}, "must be one of executions"],
    [["worker"], {}, "--pool: is required"],
    [["signal", "1", "go", "--payload", "{"], {}, "--payload must be JSON"],
    [["signal", "1", "go", "--payload", "1", "-f", "x"], {}, "not by both"],
    [["up", "--port", "x"], {}, "--port: must be an integer"],
    [["server"], { NATS_URL: "ftp://x" }, "NATS_URL: must be a URL"],
    [["db", "migrate"], {}, "DATABASE_URL: or POSTGRES_HOST is required"],
  ])("%p with %p is wrong usage", async (args, env, message) => {
    const { context, notes } = fakeContext(env);
    expect(await runCommand(args, context)).toBe("usage");
    expect(notes.join("\n")).toContain(message);
  });

  test("version as JSON has version and commit", async () => {
    const { context, lines } = fakeContext();
    expect(await runCommand(["version", "--json"], context)).toBe("ok");
    expect(JSON.parse(lines.join(""))).toMatchObject({ version: expect.any(String) });
  });
});

test("the bash completion offers commands, their subcommands and flags", async () => {
  const program = createProgram(fakeContext().context, () => undefined);
  const script = completionScript(program, "bash");
  const offers = await completeInBash(script, ["noetl", "wor"]);
  expect(offers).toContain("worker");
  expect(await completeInBash(script, ["noetl", "worker", "li"])).toContain("list");
  expect(await completeInBash(script, ["noetl", "worker", "list", "--js"])).toContain("--json");
  expect(await completeInBash(script, ["noetl", "run", "file.yaml", "--pay"])).toContain(
    "--payload",
  );
});

test("findPools() finds every pool that is named, and leaves templates alone", () => {
  const content = "executor: {pool: gpu-01}\nworkflow:\n- {pool: cpu-01, tool: {pool: '{{ x }}'}}";
  expect(findPools(content)).toEqual(["default", "gpu-01", "cpu-01"]);
  expect(findPools("a: [")).toEqual(["default"]);
});

test("formatTable() aligns columns, and formatDuration() picks the unit", () => {
  expect(formatTable(["a", "long"], [["xyz", "1"]])).toBe("A    LONG\nxyz  1");
  expect([12, 3400, 125_000, 3_720_000].map(formatDuration)).toEqual([
    "12 ms",
    "3.4 s",
    "2 min 5 s",
    "1 h 2 min",
  ]);
});

function fakeContext(env: Readonly<Record<string, string>> = {}): {
  readonly context: CliContext;
  readonly lines: string[];
  readonly notes: string[];
} {
  const lines: string[] = [];
  const notes: string[] = [];
  const context = {
    env,
    signal: new AbortController().signal,
    out: (text: string) => void lines.push(text),
    note: (text: string) => void notes.push(text),
    isTerminal: false,
  };
  return { context, lines, notes };
}

async function completeInBash(
  script: string,
  words: readonly string[],
): Promise<readonly string[]> {
  const ask = `${script}
COMP_WORDS=(${words.join(" ")}); COMP_CWORD=${words.length - 1}; _noetl; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const child = Bun.spawn(["bash", "-c", ask], { cwd: "/", stdout: "pipe" });
  return (await new Response(child.stdout).text()).split("\n");
}
