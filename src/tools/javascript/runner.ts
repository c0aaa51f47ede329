/**
 * The process that runs JavaScript tasks: `noetl __runner javascript`.
 *
 * It calls the worker back on its socket and then takes one task at a time. The worker ends it by
 * closing the connection, or kills it when a task has to stop; when the worker dies, the kernel
 * kills it even in the middle of an endless loop.
 */
import { dlopen } from "bun:ffi";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseJson } from "../../core/json.ts";
import { createFrameReader, encodeFrame } from "../frame.ts";
import type { Wire } from "../wire.ts";
import { connectWire, ROLES } from "../wire.ts";
import { describe, execute } from "./execute.ts";
import type { TaskOutput } from "./output.ts";
import { captureOutput } from "./output.ts";
import type { RunnerStart, RunnerTask } from "./protocol.ts";
import { hardenRealm } from "./realm.ts";
import { captureTimers } from "./timers.ts";

/** Log text that waits for the worker; more is dropped and counted. */
const LOG_BYTES_MAX = 16 * 1024 * 1024;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9n;

/** Serves tasks until the worker closes the connection; the options come in on stdin. */
export async function runJavascriptRunner(): Promise<void> {
  dieWithParent();
  const start = JSON.parse(await Bun.stdin.text()) as RunnerStart;
  if (start.cwd !== undefined) {
    process.chdir(start.cwd);
  }
  addJsonForms();
  const runner = new Runner();
  hardenRealm();
  const wire = await connectWire(start, start.id, ROLES.control);
  await runner.serve(wire);
}

class Runner {
  #wire: Wire | undefined;
  readonly #output: TaskOutput;
  readonly #clearTimers: () => void;
  readonly #given: Readonly<Record<string, unknown>>;
  #task: RunnerTask | undefined;
  #droppedCount = 0;

  /** Replaces globals, so it must come before the realm is hardened. */
  constructor() {
    this.#output = captureOutput((stream, text) => this.#sendLog(stream, text));
    this.#clearTimers = captureTimers();
    this.#given = { require: createRequire(join(process.cwd(), "task.js")) };
    process.on("uncaughtException", (error) => this.#fail(error));
    process.on("unhandledRejection", (reason) => this.#warn(reason));
  }

  /** Resolves when the connection is closed. */
  serve(wire: Wire): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wire = wire;
    wire.onClose = resolve;
    wire.onData = createFrameReader((text) =>
      this.#handle(parseJson(text) as unknown as RunnerTask),
    );
    return promise;
  }

  #handle(task: RunnerTask): void {
    this.#task = task;
    this.#output.begin();
    const end = execute(task, this.#given);
    if (typeof end === "string") {
      this.#finish(task, end);
    } else {
      void end.then((text) => this.#finish(task, text));
    }
  }

  #finish(task: RunnerTask, end: string): void {
    if (this.#task !== task) {
      return;
    }
    this.#task = undefined;
    this.#clearTimers();
    this.#output.end();
    if (this.#droppedCount > 0) {
      this.#droppedCount = 0;
      this.#sendLog("stderr", "some output was dropped: it came faster than it could be taken");
    }
    this.#wire?.write(encodeFrame(end));
  }

  /** An error in a timer or an event handler of the task. */
  #fail(error: unknown): void {
    if (this.#task !== undefined) {
      this.#finish(this.#task, describe(error, this.#task));
    }
  }

  #warn(reason: unknown): void {
    const text = reason instanceof Error ? `${reason.name}: ${reason.message}` : String(reason);
    this.#output.write("stderr", `unhandled rejection: ${text}\n`);
  }

  #sendLog(stream: "stdout" | "stderr", text: string): void {
    if (this.#wire === undefined || this.#wire.waitingBytes > LOG_BYTES_MAX) {
      this.#droppedCount++;
      return;
    }
    this.#wire.write(encodeFrame(JSON.stringify({ type: "log", stream, text })));
  }
}

/** What JSON makes of values that it has no form for; results go through it. */
function addJsonForms(): void {
  const forms: readonly [object, (this: never) => unknown][] = [
    [
      BigInt.prototype,
      function (this: bigint) {
        return this.toString();
      } as (this: never) => unknown,
    ],
    [
      Map.prototype,
      function (this: Map<unknown, unknown>) {
        return Object.fromEntries(this);
      } as (this: never) => unknown,
    ],
    [
      Set.prototype,
      function (this: Set<unknown>) {
        return [...this];
      } as (this: never) => unknown,
    ],
    [
      Error.prototype,
      function (this: Error) {
        return { name: this.name, message: this.message };
      } as (this: never) => unknown,
    ],
    [
      Uint8Array.prototype,
      function (this: Uint8Array) {
        return Buffer.from(this).toString("base64");
      } as (this: never) => unknown,
    ],
  ];
  for (const [prototype, toJson] of forms) {
    Object.defineProperty(prototype, "toJSON", {
      value: toJson,
      configurable: true,
      writable: true,
    });
  }
}

function dieWithParent(): void {
  if (process.platform !== "linux") {
    return;
  }
  try {
    const libc = dlopen("libc.so.6", {
      prctl: { args: ["int", "u64", "u64", "u64", "u64"], returns: "int" },
    });
    libc.symbols.prctl(PR_SET_PDEATHSIG, SIGKILL, 0n, 0n, 0n);
  } catch {
    // Another C library: the closed connection ends this process, unless a task never yields.
  }
}
