/**
 * The DuckDB databases that tasks of this worker use, each in a runner process of its own.
 *
 * All tasks on one file share its process, as DuckDB lets only one process open a file; it is closed
 * when the last of them ends, so that other workers on the machine get their turn. Tasks in memory
 * have a process each. Processes without a database are kept for the next task for a while.
 */
import { existsSync, mkdirSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname, isAbsolute, join, relative } from "node:path";
import { retry } from "../../core/backoff.ts";
import { errorMessage } from "../../core/errors.ts";
import type { Environment } from "../environment.ts";
import { MemoryGuard } from "../memory-guard.ts";
import { residentBytes } from "../process-group.ts";
import { TaskError, taskError, unlessStopped } from "../task-error.ts";
import type { Wire, WireListener } from "../wire.ts";
import { listenForWires } from "../wire.ts";
import { LOCKED_CODE } from "./failure.ts";
import { RunnerProcess } from "./runner-process.ts";
import { DuckdbSession } from "./session.ts";

/** How long a task waits for a file that another process has open. */
const LOCK_WAIT_MS = 30_000;
const LOCK_BACKOFF = { minMs: 50, maxMs: 500 };
const IDLE_MAX_MS = 30_000;
/** A process that has grown larger is not used again. */
const REUSE_BYTES_MAX = 512 * 1024 * 1024;
/** Of the memory that a process may take: what DuckDB keeps before it writes to disk. */
const BUFFER_SHARE = 0.5;
const SPILL_FOLDER = ".spill";

export interface DatabasesOptions {
  /** Starts a runner: `[...selfCommand, "__runner", "duckdb"]`. */
  readonly command: readonly string[];
  readonly env: Environment;
  /** Where relative paths lead to. Made if needed. */
  readonly filesDir: string;
  /** Resident memory of one process. */
  readonly memoryBytes: number;
  /** Tasks in memory at once; further ones wait. Default: two for each processor, at least four. */
  readonly memoryCountMax?: number;
  /** Path of DuckDB's native module, asked for once; undefined: that of node_modules. */
  readonly library: () => Promise<string | undefined>;
}

/** A process and the tasks that it serves. */
interface Seat {
  readonly file: string | undefined;
  readonly runner: Promise<RunnerProcess>;
  count: number;
}

export class DuckdbDatabases {
  readonly #options: DatabasesOptions;
  readonly #guard: MemoryGuard;
  readonly #byFile = new Map<string, Seat>();
  /** Files that are being closed. */
  readonly #closing = new Map<string, Promise<void>>();
  readonly #runners = new Set<RunnerProcess>();
  readonly #idle: RunnerProcess[] = [];
  readonly #starting = new Map<number, (wire: Wire) => void>();
  readonly #memoryCountMax: number;
  #memoryCount = 0;
  readonly #memoryWaiters: (() => void)[] = [];
  #listener: WireListener | undefined;
  #library: Promise<string | undefined> | undefined;
  #lastId = 0;

  constructor(options: DatabasesOptions) {
    this.#options = options;
    this.#guard = new MemoryGuard(options.memoryBytes);
    this.#memoryCountMax = options.memoryCountMax ?? Math.max(4, 2 * availableParallelism());
  }

  /**
   * A session of the task's own; it must be closed. Waits for a file that another process has open.
   *
   * @param path of a database file; undefined, `:memory:`: a fresh database in memory.
   * @throws TaskError
   */
  async open(path: string | undefined, signal: AbortSignal): Promise<DuckdbSession> {
    const isFile = path !== undefined && path !== "" && path !== ":memory:";
    this.#prepareFolder();
    const file = isFile ? this.#locate(path) : undefined;
    return await retry(() => this.#tryOpen(file, signal), {
      ...LOCK_BACKOFF,
      signal: AbortSignal.any([signal, AbortSignal.timeout(LOCK_WAIT_MS)]),
      isRetryable: (error) => error instanceof TaskError && error.failure.code === LOCKED_CODE,
    });
  }

  async close(): Promise<void> {
    const runners = [...this.#runners];
    for (const runner of runners) {
      runner.stop();
    }
    await Promise.all(runners.map((runner) => runner.exited));
    this.#listener?.close();
    this.#listener = undefined;
  }

  async #tryOpen(file: string | undefined, signal: AbortSignal): Promise<DuckdbSession> {
    const seat = file === undefined ? await this.#takeInMemory(signal) : await this.#take(file);
    const runner = await this.#runnerOf(seat);
    const leave = (close: () => Promise<boolean>): Promise<void> =>
      this.#leave(seat, runner, close);
    const session = new DuckdbSession(runner, { signal, leave });
    try {
      const megabytes = Math.floor((this.#options.memoryBytes * BUFFER_SHARE) / 2 ** 20);
      await session.open(file, {
        memory_limit: `${megabytes}MiB`,
        temp_directory: runner.spillDir,
      });
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  async #runnerOf(seat: Seat): Promise<RunnerProcess> {
    try {
      return await seat.runner;
    } catch (error) {
      this.#give(seat);
      throw error;
    }
  }

  #give(seat: Pick<Seat, "file">): void {
    if (seat.file !== undefined) {
      this.#byFile.delete(seat.file);
      return;
    }
    const next = this.#memoryWaiters.shift();
    if (next === undefined) {
      this.#memoryCount--;
    } else {
      next();
    }
  }

  /** One that waits here holds no other database, unless a transfer's, which needs none of these. */
  async #takeInMemory(signal: AbortSignal): Promise<Seat> {
    if (this.#memoryCount < this.#memoryCountMax) {
      this.#memoryCount++;
    } else {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#memoryWaiters.push(resolve);
      await unlessStopped(promise, signal).catch((error: unknown) => {
        this.#stopWaiting(resolve);
        throw error;
      });
    }
    return { file: undefined, runner: this.#takeRunner(), count: 1 };
  }

  #stopWaiting(waiter: () => void): void {
    const index = this.#memoryWaiters.indexOf(waiter);
    if (index === -1) {
      // Its turn came at the same moment.
      this.#give({ file: undefined });
    } else {
      this.#memoryWaiters.splice(index, 1);
    }
  }

  async #take(file: string): Promise<Seat> {
    for (;;) {
      const seat = this.#byFile.get(file);
      if (this.#closing.has(file)) {
        await this.#closing.get(file);
      } else if (seat === undefined) {
        const fresh: Seat = { file, runner: this.#takeRunner(), count: 1 };
        this.#byFile.set(file, fresh);
        return fresh;
      } else {
        const runner = await this.#runnerOf(seat);
        if (runner.isGone) {
          await runner.exited;
        } else if (this.#byFile.get(file) === seat) {
          seat.count++;
          return seat;
        }
      }
    }
  }

  async #leave(seat: Seat, runner: RunnerProcess, close: () => Promise<boolean>): Promise<void> {
    seat.count--;
    if (seat.count > 0) {
      await close();
      return;
    }
    const closed = this.#empty(runner, close);
    if (seat.file === undefined) {
      await closed;
      this.#give(seat);
    } else {
      this.#give(seat);
      this.#closing.set(seat.file, closed);
      await closed;
      this.#closing.delete(seat.file);
    }
  }

  /** Closes the last session; keeps the process if nothing is left in it. */
  async #empty(runner: RunnerProcess, close: () => Promise<boolean>): Promise<void> {
    const isReleased = await close();
    if (isReleased && !runner.isGone && residentBytes(runner.pid) < REUSE_BYTES_MAX) {
      this.#keep(runner);
    } else {
      runner.stop();
      await runner.exited;
    }
  }

  #keep(runner: RunnerProcess): void {
    this.#idle.push(runner);
    setTimeout(() => {
      const index = this.#idle.indexOf(runner);
      if (index !== -1) {
        this.#idle.splice(index, 1);
        runner.stop();
      }
    }, IDLE_MAX_MS).unref();
  }

  async #takeRunner(): Promise<RunnerProcess> {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (!idle.isGone) {
        return idle;
      }
    }
    this.#library ??= this.#options.library();
    try {
      return this.#start(await this.#library);
    } catch (error) {
      this.#library = undefined;
      const message = `DuckDB cannot be started: ${errorMessage(error)}`;
      throw taskError("internal", "DUCKDB_MISSING", message);
    }
  }

  #start(library: string | undefined): RunnerProcess {
    this.#listener ??= listenForWires((wire) => this.#starting.get(wire.id)?.(wire));
    const { command, env, filesDir } = this.#options;
    const { address, token } = this.#listener;
    const id = ++this.#lastId;
    const runner = new RunnerProcess({
      command,
      start: { id, address, token, cwd: filesDir, ...(library === undefined ? {} : { library }) },
      env,
      spillDir: join(filesDir, SPILL_FOLDER, `${process.pid}-${id}`),
      guard: this.#guard,
    });
    this.#runners.add(runner);
    this.#starting.set(id, (wire) => runner.attach(wire));
    void runner.exited.then(() => this.#forget(id, runner));
    return runner;
  }

  #forget(id: number, runner: RunnerProcess): void {
    this.#starting.delete(id);
    this.#runners.delete(runner);
    const index = this.#idle.indexOf(runner);
    if (index !== -1) {
      this.#idle.splice(index, 1);
    }
  }

  /** The one name of a file: relative paths stay in the folder of files, links are followed. */
  #locate(path: string): string {
    const { filesDir } = this.#options;
    const full = isAbsolute(path) ? path : join(filesDir, path);
    if (!isAbsolute(path) && relative(filesDir, full).startsWith("..")) {
      const message = `the database "${path}" is outside of the worker's folder of files: give an absolute path`;
      throw taskError("schema", "PATH_OUTSIDE", message);
    }
    if (!isAbsolute(path)) {
      mkdirSync(dirname(full), { recursive: true });
    }
    if (existsSync(full)) {
      return realpathSync(full);
    }
    return existsSync(dirname(full)) ? join(realpathSync(dirname(full)), basename(full)) : full;
  }

  #prepareFolder(): void {
    const spill = join(this.#options.filesDir, SPILL_FOLDER);
    if (this.#runners.size > 0) {
      return;
    }
    mkdirSync(spill, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(spill)) {
      if (!existsSync(`/proc/${name.split("-")[0]}`)) {
        // Left behind by a worker that was killed.
        rmSync(join(spill, name), { recursive: true, force: true });
      }
    }
  }
}
