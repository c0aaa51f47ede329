/** What a worker says of itself to a server: at its start until one answers, and again when it can say more. */
import { retry } from "../core/backoff.ts";
import { errorMessage } from "../core/errors.ts";
import type { RuntimeFacts, WorkerRegistration } from "../engine/command.ts";
import type { RegistrationAnswer } from "../rpc/handlers.ts";
import type { WorkerOptions } from "./options.ts";

const BACKOFF = { minMs: 200, maxMs: 1000 };

export class Registration {
  readonly #options: WorkerOptions;
  #runtimes: readonly RuntimeFacts[] = [];
  /** What was last said of them. */
  #saidRuntimes = this.#runtimes;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  /** True: there is more to say than a server knows. */
  get isOutdated(): boolean {
    return this.#runtimes.length > 0 && this.#saidRuntimes !== this.#runtimes;
  }

  /** Looking for runtimes may take seconds; nobody waits for it. Never rejects. */
  async learnRuntimes(): Promise<void> {
    this.#runtimes = (await this.#options.containers?.facts()) ?? [];
  }

  async send(): Promise<RegistrationAnswer> {
    this.#saidRuntimes = this.#runtimes;
    return await this.#options.client.register(this.#content);
  }

  /** Undefined when the worker was stopped before a server answered. */
  async sendUntilDone(signal: AbortSignal): Promise<RegistrationAnswer | undefined> {
    const { log } = this.#options;
    try {
      return await retry(() => this.send(), {
        ...BACKOFF,
        signal,
        isRetryable: () => true,
        onRetry: (error, attempt, delayMs) =>
          log.warn("Cannot register yet", {
            attempt,
            delay_ms: Math.round(delayMs),
            error: errorMessage(error),
          }),
      });
    } catch (error) {
      if (signal.aborted) {
        return undefined;
      }
      throw error;
    }
  }

  get #content(): WorkerRegistration {
    const { workerId, name, pool, slots, hostname, pid, version, labels } = this.#options;
    const { metricsUrl, tools } = this.#options;
    const gpus = this.#options.gpus?.current() ?? [];
    return {
      ...{ workerId, name, pool, slots, hostname, pid, version, labels, tools: tools.kinds },
      ...(metricsUrl === undefined ? {} : { metricsUrl }),
      ...(this.#runtimes.length === 0 ? {} : { runtimes: this.#runtimes }),
      ...(gpus.length === 0 ? {} : { gpus }),
    };
  }
}
