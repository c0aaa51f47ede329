/**
 * A process of the system under test that can be killed, frozen and started again at any time.
 *
 * One that ends though nobody told it to is started again, and remembered. Each start waits until the process serves. A start that fails (a port still taken, PostgreSQL's
 * shared memory still held by backends of the killed one) is tried again until `startMs` is over.
 */
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Subprocess } from "bun";
import { sleep } from "../../../src/core/clock.ts";

export interface ComponentOptions {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Unprivileged user to run as. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
  /** True once it serves; an error counts as false. */
  readonly isReady: () => Promise<boolean>;
}

const START_MS = 40_000;
const POLL_MS = 50;

export class Component implements AsyncDisposable {
  readonly name: string;
  readonly #options: ComponentOptions;
  #child: Subprocess | undefined;
  #isFrozen = false;
  readonly #crashes: string[] = [];
  readonly #toldToEnd = new WeakSet<Subprocess>();
  /** The start in progress, if any. */
  #starting: Promise<void> | undefined;

  constructor(options: ComponentOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Of the latest start. */
  get pid(): number {
    if (this.#child === undefined) {
      throw new Error(`${this.name} was never started`);
    }
    return this.#child.pid;
  }

  /** Started, alive, not frozen, not told to end and not about to start. */
  get isUp(): boolean {
    const child = this.#child;
    return (
      this.#starting === undefined &&
      !this.#isFrozen &&
      child?.exitCode === null &&
      child.signalCode === null &&
      !this.#toldToEnd.has(child)
    );
  }

  /** Ends that nobody asked for: how, and the end of the log. */
  get crashes(): readonly string[] {
    return this.#crashes;
  }

  /** Resolves once it serves. */
  start(): Promise<void> {
    this.#starting ??= this.#startUntilReady().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child !== undefined) {
      // From now on it is not up, however long it takes.
      this.#toldToEnd.add(child);
      child.kill(signal);
      await child.exited;
    }
    this.#isFrozen = false;
  }

  /** Asks it to end, as an operator does; one that does not end well has crashed. */
  async stop(): Promise<void> {
    await this.kill("SIGTERM");
    const { exitCode = 0, signalCode = null } = this.#child ?? {};
    if (exitCode !== 0 || signalCode !== null) {
      const how = signalCode ?? `exit code ${exitCode}`;
      this.#crashes.push(`${this.name} was to stop, ${how}: ${this.log().slice(-1500)}`);
    }
  }

  /** Ends it, runs `meanwhile`, starts it and gives the time until it served again. */
  async restart(
    meanwhile: () => Promise<void> = () => Promise.resolve(),
    end: "kill" | "stop" = "kill",
  ): Promise<number> {
    const start = performance.now();
    await this[end]();
    await meanwhile();
    await this.start();
    return performance.now() - start;
  }

  freeze(): void {
    this.#isFrozen = true;
    this.#child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child?.kill("SIGCONT");
    this.#isFrozen = false;
  }

  /** What it has written so far, all starts together. */
  log(): string {
    return readFileSync(this.#options.logFile, "utf8");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.thaw();
    await this.kill("SIGTERM");
  }

  async #startUntilReady(): Promise<void> {
    const deadline = performance.now() + START_MS;
    while (performance.now() < deadline) {
      this.#child = this.#spawn();
      if (await this.#becomesReady(this.#child, deadline)) {
        void this.#watch(this.#child);
        return;
      }
      await this.kill();
      await sleep(POLL_MS);
    }
    throw new Error(`${this.name} does not start; its log ends with:\n${this.log().slice(-2000)}`);
  }

  async #watch(child: Subprocess): Promise<void> {
    await child.exited;
    if (!this.#toldToEnd.has(child)) {
      const how = child.signalCode ?? `exit code ${child.exitCode}`;
      this.#crashes.push(`${this.name} ended by itself, ${how}: ${this.log().slice(-1500)}`);
      await this.start();
    }
  }

  async #becomesReady(child: Subprocess, deadline: number): Promise<boolean> {
    while (child.exitCode === null && child.signalCode === null && performance.now() < deadline) {
      if (await this.#options.isReady().catch(() => false)) {
        return true;
      }
      await sleep(POLL_MS);
    }
    return false;
  }

  #spawn(): Subprocess {
    const { command, env, logFile, runAs } = this.#options;
    mkdirSync(dirname(logFile), { recursive: true });
    const log = openSync(logFile, "a");
    try {
      // The kernel ends it when this process is killed, so that a failed run leaves nothing behind.
      const ids =
        runAs === undefined
          ? []
          : [`--reuid=${runAs.uid}`, `--regid=${runAs.gid}`, "--clear-groups"];
      return Bun.spawn(["setpriv", "--pdeathsig=KILL", ...ids, "--", ...command], {
        env: {
          PATH: process.env["PATH"] ?? "",
          HOME: process.env["HOME"] ?? "/",
          LC_ALL: "C.UTF-8",
          TZ: "UTC",
          ...env,
        },
        stdin: "ignore",
        stdout: log,
        stderr: log,
      });
    } finally {
      closeSync(log);
    }
  }
}
