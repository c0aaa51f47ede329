/**
 * The process that runs JavaScript tasks: `noetl __runner javascript`.
 *
 * It calls the worker back on its socket and then runs the tasks that come, one after another. The
 * worker may take back those that wait, see ledger.ts. It ends this process by closing the connection, or kills it when a task has to stop; when the worker dies, the kernel
 * kills it even in the middle of an endless loop.
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseJson } from "../../core/json.ts";
import { dieWithParent } from "../die-with-parent.ts";
import { createFrameReader, encodeFrame } from "../frame.ts";
import type { Wire } from "../wire.ts";
import { connectWire, ROLES } from "../wire.ts";
import { describe, execute } from "./execute.ts";
import { Ledger } from "./ledger.ts";
import type { TaskOutput } from "./output.ts";
import { captureOutput } from "./output.ts";
import type { RunnerStart, RunnerTask } from "./protocol.ts";
import { hardenRealm } from "./realm.ts";
import { captureTimers } from "./timers.ts";

/** Log text that waits for the worker; more is dropped and counted. */
const LOG_BYTES_MAX = 16 * 1024 * 1024;
/** While tasks follow one another, the worker is told of results so often. */
const RING_EVERY_MS = 1;
const BELL = encodeFrame("");

/** The native function: a task's own are cleared when it ends. */
const defer = globalThis.setImmediate;

/** Serves tasks until the worker closes the connection; the options come in on stdin. */
export async function runJavascriptRunner(): Promise<void> {
  dieWithParent();
  const start = JSON.parse(await Bun.stdin.text()) as RunnerStart;
  if (start.cwd !== undefined) {
    process.chdir(start.cwd);
  }
  addJsonForms();
  const runner = new Runner(Ledger.open(start.ledger));
  hardenRealm();
  const wire = await connectWire(start, start.id, ROLES.control);
  await runner.serve(wire);
}

class Runner {
  readonly #ledger: Ledger;
  #wire: Wire | undefined;
  readonly #output: TaskOutput;
  readonly #clearTimers: () => void;
  readonly #given: Readonly<Record<string, unknown>>;
  readonly #queue: string[] = [];
  /** Of the last task that left the queue. */
  #number = 0;
  #task: RunnerTask | undefined;
  #isDeferred = false;
  #hasLogged = false;
  #mustRing = false;
  #rangMs = 0;
  #droppedCount = 0;

  /** Replaces globals, so it must come before the realm is hardened. */
  constructor(ledger: Ledger) {
    this.#ledger = ledger;
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
    const read = createFrameReader((text) => this.#queue.push(text));
    wire.onData = (chunk) => {
      read(chunk);
      this.#next();
    };
    return promise;
  }

  /** Starts the next task, unless one runs; rings when there is none. */
  #next(): void {
    if (this.#task !== undefined || this.#isDeferred) {
      return;
    }
    for (let text = this.#queue.shift(); text !== undefined; text = this.#queue.shift()) {
      this.#number++;
      if (this.#ledger.start(this.#number)) {
        this.#run(parseJson(text) as unknown as RunnerTask);
        return;
      }
      this.#mustRing = true;
    }
    if (this.#mustRing) {
      this.#ring();
    }
  }

  #run(task: RunnerTask): void {
    this.#task = task;
    this.#hasLogged = false;
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
    this.#clearTimers();
    this.#output.end();
    if (this.#droppedCount > 0) {
      this.#droppedCount = 0;
      this.#sendLog("stderr", "some output was dropped: it came faster than it could be taken");
    }
    this.#task = undefined;
    if (this.#hasLogged || !this.#ledger.put(this.#number, end)) {
      this.#wire?.write(encodeFrame(`{"number":${this.#number},${end.slice(1)}`));
    } else {
      this.#mustRing = true;
    }
    this.#goOn();
  }

  /** Lets what the task has left behind happen before the next one starts. */
  #goOn(): void {
    if (this.#queue.length === 0) {
      this.#next();
      return;
    }
    if (this.#mustRing && performance.now() - this.#rangMs > RING_EVERY_MS) {
      this.#ring();
    }
    this.#isDeferred = true;
    defer(() => {
      this.#isDeferred = false;
      this.#next();
    });
  }

  #ring(): void {
    this.#mustRing = false;
    this.#rangMs = performance.now();
    this.#wire?.write(BELL);
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
    if (this.#wire === undefined || this.#task === undefined) {
      return;
    }
    if (this.#wire.waitingBytes > LOG_BYTES_MAX) {
      this.#droppedCount++;
      return;
    }
    this.#hasLogged = true;
    this.#wire.write(
      encodeFrame(JSON.stringify({ type: "log", number: this.#number, stream, text })),
    );
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
