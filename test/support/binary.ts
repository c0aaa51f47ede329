/** The compiled program for end-to-end tests: built once, when the sources are newer. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { waitFor } from "./wait.ts";

const ROOT = join(import.meta.dir, "../..");
const BINARY = join(ROOT, "dist/noetl");
// One pattern for all in braces matches nothing (Bun 1.4.5).
const INPUTS = ["src/**/*", ".ci/build.ts", "bun.lock"];

let building: Promise<string> | undefined;

/** Path of a `dist/noetl` made from the sources as they are. */
export function noetlBinary(): Promise<string> {
  building ??= buildIfOld();
  return building;
}

async function buildIfOld(): Promise<string> {
  if (!isCurrent()) {
    const build = Bun.spawn([process.execPath, join(ROOT, ".ci/build.ts")], {
      cwd: ROOT,
      stdout: "inherit",
      stderr: "pipe",
    });
    const [text, exit] = await Promise.all([new Response(build.stderr).text(), build.exited]);
    if (exit !== 0) {
      throw new Error(`The build failed:\n${text}`);
    }
  }
  return BINARY;
}

function isCurrent(): boolean {
  if (!existsSync(BINARY)) {
    return false;
  }
  const builtMs = statSync(BINARY).mtimeMs;
  const inputs = INPUTS.flatMap((pattern) => [
    ...new Bun.Glob(pattern).scanSync({ cwd: ROOT, dot: true }),
  ]);
  return inputs.every((path) => statSync(join(ROOT, path)).mtimeMs < builtMs);
}

/** How a command ended that runs to its end. */
export interface Finished {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface NoetlOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Default `/`: no test relies on the checkout. */
  readonly cwd?: string;
}

/** Nothing of the machine's own configuration reaches the program. */
function environment({ env }: NoetlOptions): Record<string, string> {
  return { PATH: "/usr/bin:/bin", HOME: process.env["HOME"] ?? "/", ...env };
}

export async function runNoetl(
  args: readonly string[],
  options: NoetlOptions = {},
): Promise<Finished> {
  const child = Bun.spawn([await noetlBinary(), ...args], {
    cwd: options.cwd ?? "/",
    env: environment(options),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

/** A running `noetl up` or `noetl server`. */
export interface RunningNoetl extends AsyncDisposable {
  readonly process: Subprocess;
  /** Of the HTTP API, from its first log line. */
  readonly url: string;
  /** Of that line. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** What it has written so far. */
  output(): string;
}

/** Starts a role and waits until it listens. It is killed at the end of the scope, if it still runs. */
export async function startNoetl(
  args: readonly string[],
  options: NoetlOptions = {},
): Promise<RunningNoetl> {
  const child = Bun.spawn([await noetlBinary(), ...args], {
    cwd: options.cwd ?? "/",
    env: environment(options),
    stdout: "pipe",
    stderr: "pipe",
  });
  let text = "";
  const collect = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      text += decoder.decode(chunk, { stream: true });
    }
  };
  const reading = Promise.all([collect(child.stdout), collect(child.stderr)]);
  const fields = await waitFor(
    "noetl to listen",
    () => {
      if (child.exitCode !== null) {
        throw new Error(`It ended with ${child.exitCode}:\n${text}`);
      }
      const line = text.split("\n")[0] ?? "";
      return line.includes('"listening"') && (JSON.parse(line) as Record<string, unknown>);
    },
    { deadlineMs: 60_000 },
  );
  return {
    process: child,
    url: String(fields["http"]),
    fields,
    output: () => text,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
      await reading;
    },
  };
}
