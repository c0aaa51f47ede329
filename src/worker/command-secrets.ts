/** The credentials and keychain entries of one command, their values kept out of what it says. */
import { retry } from "../core/backoff.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { CommandOutcome, HeldCommand } from "../engine/command.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import type { Retried } from "../engine/pipeline.ts";
import type { ResolvedCredential } from "../rpc/handlers.ts";
import type { Mask } from "../secrets/mask.ts";
import { createMask, NO_MASK, secretValues } from "../secrets/mask.ts";
import { maskBytes } from "../secrets/mask-bytes.ts";
import { Aliased } from "../template/scope.ts";
import type { Artifacts, Credential } from "../tools/tool.ts";
import { CredentialError } from "../tools/tool.ts";
import type { WorkerOptions } from "./options.ts";

const RETRY_BACKOFF = { minMs: 200, maxMs: 3000 };
/** What the server itself has asked for in vain, several times. */
const SOURCE_DOWN: ReadonlySet<string> = new Set(["SECRET_SOURCE_UNAVAILABLE", "KEYCHAIN_BUSY"]);

export interface CommandSecretsOptions extends Pick<WorkerOptions, "client" | "workerId"> {
  readonly held: HeldCommand;
  readonly signal: AbortSignal;
}

/** Thrown when a template reads a keychain entry that is not at hand: load, repeat. */
class KeychainNeededError extends Error {
  override readonly name = "KeychainNeededError";
  readonly alias: string;

  constructor(alias: string) {
    super(`keychain entry ${alias} is not loaded`);
    this.alias = alias;
  }
}

/** Secrets are loaded once per command and forgotten with it. */
export class CommandSecrets {
  readonly #options: CommandSecretsOptions;
  readonly #loaded = new Map<string, Promise<ResolvedCredential>>();
  readonly #entries = new Map<string, ResolvedCredential>();
  /** Names of credentials, and aliases of entries, that the current try of a task has asked for. */
  readonly #usedNames = new Set<string>();
  readonly #usedAliases = new Set<string>();
  readonly #values = new Set<string>();
  #mask: Mask = NO_MASK;

  /** `keychain.*` of templates; to be read within {@link during}. */
  readonly keychain: Aliased = new Aliased({}, (alias) => this.#entry(alias), {}, true);

  constructor(options: CommandSecretsOptions) {
    this.#options = options;
  }

  /** @throws CredentialError with a failure of kind `auth`, or `connection` if a source is down. */
  async credential(name: string): Promise<Credential> {
    this.#usedNames.add(name);
    const known = this.#loaded.get(name) ?? this.#load(name, false, "");
    this.#loaded.set(name, known);
    return await known;
  }

  /** Repeats a computation until all keychain entries that it reads are loaded. @throws CredentialError */
  async during<T>(compute: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await compute();
      } catch (error) {
        if (!(error instanceof KeychainNeededError)) {
          throw error;
        }
        this.#entries.set(error.alias, await this.#load(error.alias, true, ""));
      }
    }
  }

  /** Forgets what earlier tries have used. */
  beginTry(): void {
    this.#usedNames.clear();
    this.#usedAliases.clear();
  }

  /**
   * Fetches anew the tokens that the try has used, because a remote side refused it.
   *
   * @returns false when there is nothing else to try.
   */
  async renew(): Promise<boolean> {
    let isChanged = false;
    for (const name of this.#usedNames) {
      const before = await this.#loaded.get(name)?.catch(() => undefined);
      if (before !== undefined && before.version !== "") {
        const after = await this.#load(name, false, before.version);
        this.#loaded.set(name, Promise.resolve(after));
        isChanged ||= after.version !== before.version;
      }
    }
    for (const alias of this.#usedAliases) {
      const before = this.#entries.get(alias);
      if (before !== undefined && before.version !== "") {
        const after = await this.#load(alias, true, before.version);
        this.#entries.set(alias, after);
        isChanged ||= after.version !== before.version;
      }
    }
    return isChanged;
  }

  #entry(alias: string): Aliased {
    this.#usedAliases.add(alias);
    const entry = this.#entries.get(alias);
    if (entry === undefined) {
      throw new KeychainNeededError(alias);
    }
    const missing = (field: string): never => {
      const known = Object.keys(entry.data).join(", ");
      const message = `Keychain entry "${alias}" has no field "${field}"; it has ${known}`;
      throw new CredentialError(failure("auth", message, { code: "KEYCHAIN_FIELD_UNKNOWN" }));
    };
    return new Aliased(entry.data, missing);
  }

  maskJson(value: Json): Json {
    return this.#mask.json(value);
  }

  maskText(text: string): string {
    return this.#mask.text(text);
  }

  /** What a task stores by itself loses the secrets, too; its size and hash are then those of the rest. */
  maskArtifacts(artifacts: Artifacts): Artifacts {
    const put: Artifacts["put"] = async (result, open) => {
      if (this.#values.size === 0) {
        return await artifacts.put(result, open);
      }
      const { sha256: _sha256, size: _size, ...others } = result;
      return await artifacts.put(others, () => maskBytes(this.#values, open()));
    };
    return { ...artifacts, put };
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

  async #load(
    name: string,
    isKeychain: boolean,
    refusedVersion: string,
  ): Promise<ResolvedCredential> {
    const { client, workerId, held, signal } = this.#options;
    const { executionId, commandId, attempt } = held;
    const question = {
      held: { executionId, commandId, attempt },
      name,
      isKeychain,
      refusedVersion,
    };
    try {
      const found = await retry(() => client.resolveCredential(workerId, question), {
        ...RETRY_BACKOFF,
        signal,
        isRetryable: (error) =>
          error instanceof AppError && error.isRetryable && !SOURCE_DOWN.has(error.code),
      });
      this.#hide(found.data);
      return found;
    } catch (error) {
      throw credentialError(isKeychain ? "Keychain entry" : "Credential", name, error);
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

function credentialError(what: string, name: string, error: unknown): CredentialError {
  const code = error instanceof AppError ? error.code : "CREDENTIAL_UNAVAILABLE";
  const message = `${what} "${name}" cannot be had: ${errorMessage(error)}`;
  const isDown = error instanceof AppError && error.isRetryable;
  return new CredentialError(failure(isDown ? "connection" : "auth", message, { code }));
}
