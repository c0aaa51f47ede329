/** One DuckDB runner, from the worker's side. */
import { rmSync } from "node:fs";
import type { Subprocess } from "bun";
import type { Json } from "../../core/json.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import type { Environment } from "../environment.ts";
import { createFrameReader, encodeFrame } from "../frame.ts";
import { createLineSplitter } from "../lines.ts";
import type { MemoryGuard } from "../memory-guard.ts";
import { killGroup, preferAsOomVictim } from "../process-group.ts";
import { TaskError } from "../task-error.ts";
import type { Wire } from "../wire.ts";
import { duckdbFailure } from "./failure.ts";
import type { Answer, Envelope, Request, RunnerStart } from "./protocol.ts";

/** Last lines of the process's own output that are kept for a failure. */
const STDERR_LINES_MAX = 20;

export interface RunnerProcessOptions {
  /** Starts a runner: `[...selfCommand, "__runner", "duckdb"]`. */
  readonly command: readonly string[];
  readonly start: RunnerStart;
  readonly env: Environment;
  /** For what does not fit into memory; removed with the process. */
  readonly spillDir: string;
  readonly guard: MemoryGuard;
}

interface Pending {
  readonly resolve: (value: Json) => void;
  readonly reject: (error: TaskError) => void;
}

export class RunnerProcess {
  /** Resolves when the process has ended and all its requests have failed. */
  readonly exited: Promise<void>;
  readonly spillDir: string;
  readonly #process: Subprocess<"pipe", "ignore", "pipe">;
  readonly #pending = new Map<number, Pending>();
  readonly #attached = Promise.withResolvers<void>();
  readonly #stderr: string[] = [];
  readonly #unwatch: () => void;
  #wire: Wire | undefined;
  #lastId = 0;
  #lastSession = 0;
  #isGone = false;
  #killReason: Failure | undefined;

  constructor({ command, start, env, spillDir, guard }: RunnerProcessOptions) {
    this.spillDir = spillDir;
    this.#process = Bun.spawn([...command], {
      stdio: ["pipe", "ignore", "pipe"],
      detached: true,
      env,
    });
    preferAsOomVictim(this.#process.pid);
    this.#unwatch = guard.watch(this.#process.pid, (reason) => this.kill(reason));
    this.#begin(start);
    this.exited = this.#waitForEnd();
  }

  #begin(start: RunnerStart): void {
    try {
      this.#process.stdin.write(JSON.stringify(start));
      void this.#process.stdin.end();
    } catch {
      // It has ended already; that is told when its end is seen.
    }
  }

  get isGone(): boolean {
    return this.#isGone || this.#killReason !== undefined;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Takes the connection on which the process called back. */
  attach(wire: Wire): void {
    this.#wire = wire;
    wire.onData = createFrameReader((text) => this.#handle(JSON.parse(text) as Answer));
    this.#attached.resolve();
  }

  newSession(): number {
    return ++this.#lastSession;
  }

  /** @throws TaskError */
  async request(session: number, request: Request): Promise<Json> {
    if (this.isGone) {
      throw this.#gone();
    }
    const { promise, resolve, reject } = Promise.withResolvers<Json>();
    const id = ++this.#lastId;
    this.#pending.set(id, { resolve, reject });
    await this.#attached.promise;
    this.#send({ id, session, request });
    return await promise;
  }

  interrupt(session: number): void {
    this.#send({ interrupt: session });
  }

  /** Ends the process; what it was asked fails with `reason`. */
  kill(reason: Failure): void {
    this.#killReason ??= reason;
    killGroup(this.#process.pid, "SIGKILL");
  }

  /** Ends a process that nobody uses. */
  stop(): void {
    this.kill(failure("db_connection", "DuckDB's process was ended", { code: "DUCKDB_ENDED" }));
  }

  #send(envelope: Envelope): void {
    this.#wire?.write(encodeFrame(JSON.stringify(envelope)));
  }

  #handle(answer: Answer): void {
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if ("error" in answer) {
      pending?.reject(new TaskError(duckdbFailure(answer.error)));
    } else {
      pending?.resolve(answer.value);
    }
  }

  async #waitForEnd(): Promise<void> {
    const splitter = createLineSplitter((line) => {
      this.#stderr.push(line);
      this.#stderr.splice(0, this.#stderr.length - STDERR_LINES_MAX);
    });
    for await (const chunk of this.#process.stderr) {
      splitter.push(chunk);
    }
    splitter.end();
    await this.#process.exited;
    this.#isGone = true;
    this.#unwatch();
    rmSync(this.spillDir, { recursive: true, force: true });
    this.#attached.resolve();
    for (const pending of this.#pending.values()) {
      pending.reject(this.#gone());
    }
    this.#pending.clear();
  }

  #gone(): TaskError {
    const { exitCode, signalCode } = this.#process;
    const how =
      signalCode === null ? `exited with code ${exitCode}` : `was killed by ${signalCode}`;
    const reason = failure("db_error", `DuckDB's process ${how}`, { code: "DUCKDB_DIED" });
    const stderr = this.#stderr.join("\n");
    return new TaskError(this.#killReason ?? (stderr === "" ? reason : { ...reason, stderr }));
  }
}
