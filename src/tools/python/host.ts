/**
 * The worker's side of the Python interpreter that forks a process per task (host.py).
 *
 * A child is forked ahead of need and calls back on three sockets; it serves one task and ends. The
 * host is started by the first task that needs it, and again after it died; tasks that had not
 * started by then go to the new one, the others end without an answer.
 */
import type { FileSink, Subprocess } from "bun";
import type { Environment } from "../environment.ts";
import { createLineSplitter } from "../lines.ts";
import type { Wire, WireListener } from "../wire.ts";
import { listenForWires, ROLES } from "../wire.ts";
import hostSource from "./host.py" with { type: "text" };
import taskSource from "./task.py" with { type: "text" };

/** Children that wait for a task, so that a fork is off the path of the next one. */
const SPARE_COUNT = 2;
/** While there is a spare child, the fork of another waits until the task at hand is probably over. */
const FORK_DELAY_MS = 2;
/** Forks under way at once; more would only wait for a processor. */
const FORKING_MAX = 8;
/** Reads the program from stdin; what follows there are the host's commands. */
const BOOT = `
import os, sys
sys.path[:] = [p for p in sys.path if p]
def _read(n):
    data = b""
    while len(data) < n:
        chunk = os.read(0, n - len(data))
        if not chunk:
            os._exit(0)
        data += chunk
    return data
import json
_config = json.loads(_read(int(_read(10))))
exec(compile(_config.pop("source"), "noetl-python-host", "exec"))
serve(_config)
`;

export interface PythonHostOptions {
  /** Path or name of the interpreter, 3.9 or newer. */
  readonly python: string;
  readonly env: Environment;
}

/** A process that waits for one task. */
export interface PythonChild {
  readonly pid: number;
  readonly control: Wire;
  readonly stdout: Wire;
  readonly stderr: Wire;
  /** Exit code, or minus the number of the signal; undefined when the host died with it. */
  readonly exited: Promise<number | undefined>;
}

/** The interpreter does not start. */
export class PythonMissingError extends Error {
  override readonly name = "PythonMissingError";
}

interface Waiter {
  readonly resolve: (child: PythonChild) => void;
  readonly reject: (error: Error) => void;
}

export class PythonHost {
  readonly #options: PythonHostOptions;
  readonly #wires = new Map<number, Map<number, Wire>>();
  readonly #exits = new Map<number, PromiseWithResolvers<number | undefined>>();
  #listener: WireListener | undefined;
  #process: Subprocess<"pipe", "pipe", "pipe"> | undefined;
  #isReady = false;
  #stderrTail = "";
  #spare: PythonChild[] = [];
  readonly #waiters: Waiter[] = [];
  #forkingCount = 0;
  #forkTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #imported = new Set<string>();

  constructor(options: PythonHostOptions) {
    this.#options = options;
  }

  /** Id of the interpreter's process while it runs. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts the interpreter and its first children, if that has not happened yet. */
  start(): void {
    if (this.#process === undefined) {
      this.#spawn();
    }
    this.#forkAsNeeded();
  }

  /** @throws PythonMissingError if the interpreter does not start. */
  take(): Promise<PythonChild> {
    const { promise, resolve, reject } = Promise.withResolvers<PythonChild>();
    const child = this.#spare.shift();
    if (child === undefined) {
      this.#waiters.push({ resolve, reject });
    } else {
      resolve(child);
      if (this.#spare.length > 0) {
        this.#forkLater();
        return promise;
      }
    }
    try {
      this.start();
    } catch (error) {
      this.#rejectWaiters(error);
    }
    return promise;
  }

  /** Makes later children have a module of the standard library from the start. */
  preload(module: string): void {
    if (!this.#imported.has(module)) {
      this.#imported.add(module);
      this.#command(`import ${module}\n`);
    }
  }

  async close(): Promise<void> {
    clearTimeout(this.#forkTimer);
    const host = this.#process;
    await host?.stdin.end();
    await host?.exited;
  }

  #spawn(): void {
    const host = Bun.spawn([this.#options.python, "-u", "-c", BOOT], {
      stdio: ["pipe", "pipe", "pipe"],
      env: this.#options.env,
    });
    this.#process = host;
    // A listener per host: nobody mistakes a late call of a dead host's child for a live one.
    const listener = listenForWires((wire) => {
      if (this.#process === host) {
        this.#greet(wire);
      } else {
        wire.close();
      }
    });
    this.#listener = listener;
    this.#isReady = false;
    this.#stderrTail = "";
    const config = JSON.stringify({
      source: `${taskSource}\n${hostSource}`,
      address: listener.address,
      token: listener.token,
    });
    const size = String(Buffer.byteLength(config)).padStart(10, "0");
    this.#command(size + config);
    for (const module of this.#imported) {
      this.#command(`import ${module}\n`);
    }
    void this.#follow(host);
  }

  async #follow(host: Subprocess<"pipe", "pipe", "pipe">): Promise<void> {
    const lines = createLineSplitter((line) => this.#handleEvent(line));
    const decoder = new TextDecoder();
    await Promise.all([
      readAll(host.stdout, lines.push),
      readAll(host.stderr, (chunk) => {
        this.#stderrTail = (this.#stderrTail + decoder.decode(chunk)).slice(-2000);
      }),
      host.exited,
    ]);
    this.#handleDeath();
  }

  #handleEvent(line: string): void {
    const [event, pid, code] = line.split(" ");
    if (event === "ready") {
      this.#isReady = true;
    } else if (event === "exit") {
      this.#end(Number(pid), Number(code));
    }
  }

  #handleDeath(): void {
    const wasReady = this.#isReady;
    this.#listener?.close();
    this.#listener = undefined;
    this.#process = undefined;
    this.#forkingCount = 0;
    this.#spare = [];
    this.#wires.clear();
    for (const pid of [...this.#exits.keys()]) {
      this.#end(pid, undefined);
    }
    if (!wasReady) {
      const detail = this.#stderrTail.trim();
      this.#rejectWaiters(
        new PythonMissingError(`the Python interpreter does not start: ${detail}`),
      );
    } else if (this.#waiters.length > 0) {
      this.start();
    }
  }

  #end(pid: number, code: number | undefined): void {
    this.#spare = this.#spare.filter((child) => child.pid !== pid);
    if (this.#exits.get(pid) === undefined) {
      // It died before it had called back.
      this.#wires.delete(pid);
      this.#forkingCount = Math.max(0, this.#forkingCount - 1);
      return;
    }
    this.#exits.get(pid)?.resolve(code);
    this.#exits.delete(pid);
  }

  /** Collects a child's three connections; with the last one it is ready for a task. */
  #greet(wire: Wire): void {
    const wires = this.#wires.get(wire.id) ?? new Map<number, Wire>();
    this.#wires.set(wire.id, wires.set(wire.role, wire));
    const control = wires.get(ROLES.control);
    const stdout = wires.get(ROLES.stdout);
    const stderr = wires.get(ROLES.stderr);
    if (control === undefined || stdout === undefined || stderr === undefined) {
      return;
    }
    this.#wires.delete(wire.id);
    this.#forkingCount = Math.max(0, this.#forkingCount - 1);
    const exit = Promise.withResolvers<number | undefined>();
    this.#exits.set(wire.id, exit);
    this.#offer({ pid: wire.id, control, stdout, stderr, exited: exit.promise });
  }

  #offer(child: PythonChild): void {
    const waiter = this.#waiters.shift();
    if (waiter === undefined) {
      this.#spare.push(child);
    } else {
      waiter.resolve(child);
    }
    this.#forkAsNeeded();
  }

  #forkAsNeeded(): void {
    const missing = this.#waiters.length + SPARE_COUNT - this.#spare.length;
    const wanted = Math.min(missing, FORKING_MAX) - this.#forkingCount;
    if (wanted > 0) {
      this.#forkingCount += wanted;
      this.#command("fork\n".repeat(wanted));
    }
  }

  #forkLater(): void {
    this.#forkTimer ??= setTimeout(() => {
      this.#forkTimer = undefined;
      this.#forkAsNeeded();
    }, FORK_DELAY_MS);
  }

  /** A host that has just died does not get it, which its end takes care of. */
  #command(text: string): void {
    const stdin = this.#process?.stdin;
    if (stdin !== undefined) {
      void writeTo(stdin, text).catch(() => undefined);
    }
  }

  #rejectWaiters(error: unknown): void {
    const missing =
      error instanceof PythonMissingError
        ? error
        : new PythonMissingError(`cannot start "${this.#options.python}"`, { cause: error });
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(missing);
    }
  }
}

async function writeTo(sink: FileSink, text: string): Promise<void> {
  sink.write(text);
  await sink.flush();
}

async function readAll(
  stream: ReadableStream<Uint8Array>,
  onChunk: (chunk: Uint8Array) => void,
): Promise<void> {
  for await (const chunk of stream) {
    onChunk(chunk);
  }
}
