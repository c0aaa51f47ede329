/** The credentials of one command, and their values kept out of what it says. */
import { retry } from "../core/backoff.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { CommandOutcome, HeldCommand } from "../engine/command.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type { Retried } from "../engine/pipeline.ts";
import type { Mask } from "../secrets/mask.ts";
import { createMask, secretValues } from "../secrets/mask.ts";
import type { Credential } from "../tools/tool.ts";
import { CredentialError } from "../tools/tool.ts";
import type { WorkerOptions } from "./options.ts";

const RETRY_BACKOFF = { minMs: 200, maxMs: 3000 };
const NO_MASK = createMask([]);

export interface CommandSecretsOptions extends Pick<WorkerOptions, "client" | "workerId"> {
  readonly held: HeldCommand;
  readonly signal: AbortSignal;
}

/** Credentials are loaded once per command and forgotten with it. */
export class CommandSecrets {
  readonly #options: CommandSecretsOptions;
  readonly #loaded = new Map<string, Promise<Credential>>();
  readonly #values = new Set<string>();
  #mask: Mask = NO_MASK;

  constructor(options: CommandSecretsOptions) {
    this.#options = options;
  }

  /** @throws CredentialError with a failure of kind `auth`. */
  async credential(name: string): Promise<Credential> {
    const known = this.#loaded.get(name) ?? this.#load(name);
    this.#loaded.set(name, known);
    return await known;
  }

  maskText(text: string): string {
    return this.#mask.text(text);
  }

  maskOutcome(outcome: CommandOutcome): CommandOutcome {
    if (this.#values.size === 0) {
      return outcome;
    }
    switch (outcome.status) {
      case "ok":
        return {
          ...outcome,
          value: this.#mask.json(outcome.value),
          ctx: this.#object(outcome.ctx),
          ...this.#retried(outcome),
        };
      case "error":
        return {
          ...outcome,
          error: this.#failure(outcome.error),
          value: this.#mask.json(outcome.value),
          ctx: this.#object(outcome.ctx),
          ...this.#retried(outcome),
        };
      case "yielded": {
        const { pipeline } = outcome;
        const results = this.#object(pipeline.results);
        const locals = this.#object(pipeline.locals);
        const iter = this.#object(pipeline.iter);
        const ctx = this.#object(pipeline.ctx);
        const retried = this.#retried(pipeline);
        return { ...outcome, pipeline: { ...pipeline, results, locals, iter, ctx, ...retried } };
      }
      case "cancelled":
      case "released":
        return outcome;
    }
  }

  async #load(name: string): Promise<Credential> {
    const { client, workerId, held, signal } = this.#options;
    try {
      const credential = await retry(() => client.resolveCredential(workerId, held, name), {
        ...RETRY_BACKOFF,
        signal,
        isRetryable: (error) => error instanceof AppError && error.isRetryable,
      });
      this.#hide(credential.data);
      return credential;
    } catch (error) {
      throw credentialError(name, error);
    }
  }

  #hide(data: JsonObject): void {
    for (const value of secretValues(data)) {
      this.#values.add(value);
    }
    this.#mask = createMask(this.#values);
  }

  #object(value: JsonObject): JsonObject {
    const masked: Json = this.#mask.json(value);
    return isJsonObject(masked) ? masked : {};
  }

  #retried({ retries }: Retried): Retried {
    return retries?.last === undefined
      ? {}
      : { retries: { ...retries, last: this.#failure(retries.last) } };
  }

  #failure(error: Failure): Failure {
    const { stderr } = error;
    return {
      ...error,
      message: this.#mask.text(error.message),
      ...(stderr === undefined ? {} : { stderr: this.#mask.text(stderr) }),
    };
  }
}

function credentialError(name: string, error: unknown): CredentialError {
  const code = error instanceof AppError ? error.code : "CREDENTIAL_UNAVAILABLE";
  const message = `Credential "${name}" cannot be had: ${errorMessage(error)}`;
  return new CredentialError(failure("auth", message, { code }));
}
