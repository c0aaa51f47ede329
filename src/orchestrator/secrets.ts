/** Puts the parts that handle secrets together. */
import type { ExecutionId, WorkerId } from "../core/ids.ts";
import type { JsonObject } from "../core/json.ts";
import type { ExecutionState } from "../engine/state.ts";
import { isTerminal } from "../engine/state.ts";
import { createProviders } from "../secrets/providers.ts";
import { claimRenewal, stopRenewing } from "../store/keychain.ts";
import type { DueKeychain } from "../store/sweep.ts";
import type { ResolvedCredential, SecretQuestion } from "./credentials.ts";
import { renewKeychain, resolveCredential } from "./credentials.ts";
import { Keychain } from "./keychain.ts";
import { KeychainCache } from "./keychain-cache.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { PlaybookCache } from "./playbook-cache.ts";
import type { Rotation } from "./rotate-secrets.ts";
import { rotateSecrets } from "./rotate-secrets.ts";
import { SecretSource } from "./secret-source.ts";

export interface SecretsOptions
  extends Pick<OrchestratorOptions, "store" | "secrets" | "providers" | "metrics" | "log"> {
  readonly state: (id: ExecutionId) => Promise<ExecutionState | undefined>;
  readonly playbooks: Pick<PlaybookCache, "find">;
}

/** Renewals under way at a time; the others are found by the next sweep. */
const RENEWALS_MAX = 32;
/** How soon a renewal that failed, or whose server died, is tried again. */
const RENEWAL_AGAIN_MS = 10_000;

export class Secrets {
  readonly #options: SecretsOptions;
  readonly #cache: KeychainCache;
  readonly #source: SecretSource;
  readonly #keychain: Keychain;
  /** Keys of values whose renewal is under way here. */
  readonly #renewing = new Set<string>();

  constructor(options: SecretsOptions) {
    const providers = options.providers ?? createProviders({});
    this.#options = options;
    this.#cache = new KeychainCache(options);
    this.#source = new SecretSource({ ...options, providers, cache: this.#cache });
    this.#keychain = new Keychain({ ...options, source: this.#source, cache: this.#cache });
  }

  /** For the worker of a command that names the secret. See {@link resolveCredential}. */
  async resolve(workerId: WorkerId, question: SecretQuestion): Promise<ResolvedCredential> {
    const { store, metrics, log } = this.#options;
    const parts = { source: this.#source, keychain: this.#keychain };
    return await resolveCredential({ store, metrics, log, ...parts }, workerId, question);
  }

  /** For the server's own use. @throws AppError not_found CREDENTIAL_NOT_FOUND, and more. */
  async open(name: string): Promise<{ readonly type: string; readonly data: JsonObject }> {
    const opened = await this.#source.open(name);
    const { data } = await this.#source.value(opened);
    return { type: opened.row.type, data };
  }

  async rotate(): Promise<Rotation> {
    const { store, secrets, log } = this.#options;
    return await rotateSecrets(store.durable, { secrets, log });
  }

  /** Renews values ahead of their end, each once at a time; never rejects. */
  async renew(due: readonly DueKeychain[]): Promise<void> {
    const room = Math.max(0, RENEWALS_MAX - this.#renewing.size);
    const free = due.filter(({ cacheKey }) => !this.#renewing.has(cacheKey)).slice(0, room);
    await Promise.all(free.map((one) => this.#renewOne(one)));
  }

  async #renewOne({ executionId, name, scope, cacheKey }: DueKeychain): Promise<void> {
    const { store, state, log, metrics } = this.#options;
    const stop = async (): Promise<void> => await stopRenewing(store.quick, cacheKey);
    this.#renewing.add(cacheKey);
    try {
      if (!(await claimRenewal(store.quick, cacheKey, RENEWAL_AGAIN_MS))) {
        return;
      }
      const execution = await state(executionId);
      if (execution === undefined || (scope === "local" && isTerminal(execution))) {
        await stop();
        return;
      }
      await renewKeychain({ keychain: this.#keychain, log, metrics }, { executionId, name }, stop);
    } catch {
      // The database is away: a later sweep finds the same row.
    } finally {
      this.#renewing.delete(cacheKey);
    }
  }
}
