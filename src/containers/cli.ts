/** One runtime's command line: calls with a limit, repeated while its daemon is away. */
import { retry } from "../core/backoff.ts";
import { callError, isMissing, outageError } from "./cli-error.ts";
import type { CliEnvironment, CliResult } from "./cli-process.ts";
import { runCli } from "./cli-process.ts";
import type { Inspection } from "./inspection.ts";
import { parseInspections } from "./inspection.ts";
import { ContainerError } from "./runtime.ts";

export interface CliAccess {
  /** Path of the program. */
  readonly program: string;
  /** `docker`: for people. */
  readonly name: string;
  readonly env: CliEnvironment;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Of each try. Default 30 s. */
  readonly timeoutMs?: number;
  /** How long a daemon may be away. Default 15 s. */
  readonly outageMs?: number;
  readonly env?: CliEnvironment;
  readonly cwd?: string;
  /** Told when the daemon was away. */
  readonly onOutage?: () => void;
}

const TIMEOUT_MS = 30_000;
const OUTAGE_MS = 15_000;
const BACKOFF = { minMs: 100, maxMs: 2000 } as const;

export class Cli {
  readonly access: CliAccess;
  /** Callers that ask for the same at the same time share an answer. */
  readonly #inspecting = new Map<string, Promise<Inspection | undefined>>();

  constructor(access: CliAccess) {
    this.access = access;
  }

  get name(): string {
    return this.access.name;
  }

  /** One try, whatever comes of it. */
  async tryCall(words: readonly string[], options: CallOptions = {}): Promise<CliResult> {
    const { program, env } = this.access;
    const { signal, cwd, timeoutMs = TIMEOUT_MS } = options;
    return await runCli([program, ...words], {
      env: { ...env, ...options.env },
      timeoutMs,
      ...(signal === undefined ? {} : { signal }),
      ...(cwd === undefined ? {} : { cwd }),
    });
  }

  /**
   * Repeats the call while the daemon is away.
   *
   * @throws ContainerError of kind `connection` when it stays away.
   */
  async call(words: readonly string[], options: CallOptions = {}): Promise<CliResult> {
    return await this.whileAway(async () => {
      const result = await this.tryCall(words, options);
      const outage =
        result.exitCode === 0 ? undefined : outageError(this.access.name, result.stderr);
      if (outage !== undefined) {
        throw outage;
      }
      return result;
    }, options);
  }

  /** Repeats what throws a `connection` error that another try may help. */
  async whileAway<T>(operation: () => Promise<T>, options: CallOptions = {}): Promise<T> {
    const giveUpAtMs = performance.now() + (options.outageMs ?? OUTAGE_MS);
    const signal = options.signal ?? new AbortController().signal;
    return await retry(operation, {
      ...BACKOFF,
      signal,
      isRetryable: (error) => isOutage(error) && performance.now() < giveUpAtMs,
      onRetry: () => options.onOutage?.(),
    });
  }

  /** @throws ContainerError when the call fails. */
  async must(words: readonly string[], options: CallOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.call(words, options);
    if (exitCode !== 0) {
      throw callError(this.access.name, words.slice(0, 2).join(" "), stderr);
    }
    return stdout;
  }

  /** Undefined: there is no such container. */
  async inspect(idOrName: string, options: CallOptions = {}): Promise<Inspection | undefined> {
    const running = this.#inspecting.get(idOrName);
    if (running !== undefined) {
      return await running;
    }
    const inspecting = this.#inspect(idOrName, options).finally(() => {
      this.#inspecting.delete(idOrName);
    });
    this.#inspecting.set(idOrName, inspecting);
    return await inspecting;
  }

  async #inspect(idOrName: string, options: CallOptions): Promise<Inspection | undefined> {
    // One caller's end must not fail the others that share the answer.
    const { signal: _, ...rest } = options;
    const result = await this.call(["container", "inspect", idOrName], rest);
    const [found] = parseInspections(result.stdout);
    if (found === undefined && !isMissing(result.stderr)) {
      throw callError(this.access.name, "container inspect", result.stderr);
    }
    return found;
  }

  async inspectAll(ids: readonly string[]): Promise<readonly Inspection[]> {
    if (ids.length === 0) {
      return [];
    }
    // Some may be gone by now: then it fails, and gives the others all the same.
    const { stdout } = await this.call(["container", "inspect", ...ids]);
    return parseInspections(stdout);
  }
}

function isOutage(error: unknown): boolean {
  return (
    error instanceof ContainerError && error.kind === "connection" && error.isRetryable === true
  );
}
