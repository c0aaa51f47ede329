/**
 * Tokens and keychain values, sealed in PostgreSQL so that all servers share them and a restart keeps
 * them.
 *
 * A value is used until shortly before it expires (its skew), then fetched anew by whoever needs it
 * first: in this process one call per key is under way, and between servers the row's lease decides.
 * The others wait for the new value, or go on with the old one while it holds. A fetcher that dies
 * leaves a lease that ends by itself. A value that a remote side refused is replaced once: callers say
 * which version it was.
 */
import { sleep } from "../core/clock.ts";
import { AppError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { openKeychain, sealKeychain } from "../secrets/credential.ts";
import type { Sealer } from "../secrets/sealing.ts";
import type { KeychainPlace, KeychainValue } from "../store/keychain.ts";
import {
  leaseKeychain,
  readKeychain,
  releaseKeychain,
  storeKeychain,
  useKeychain,
} from "../store/keychain.ts";
import type { Store } from "../store/pool.ts";

/** What was fetched. */
export interface FetchedValue {
  readonly data: JsonObject;
  /** Undefined: it does not expire. */
  readonly lifetimeMs: number | undefined;
  /** For the next fetch; given to nobody. */
  readonly kept?: JsonObject;
}

export interface CacheRequest {
  readonly place: KeychainPlace;
  /** Renew it ahead while it is in use. */
  readonly isAutoRenewed: boolean;
  /** The version that somebody refused: only another one will do. */
  readonly refusedVersion?: number | undefined;
  /** @param kept what the value before left behind. */
  readonly fetch: (kept: JsonObject | undefined) => Promise<FetchedValue>;
}

export interface CachedValue {
  readonly data: JsonObject;
  readonly version: number;
}

/** Of a fetch; a token endpoint that does not answer is given up sooner. */
const LEASE_MS = 30_000;
const POLL_MS = 100;
const SKEW_MS_MAX = 60_000;
const SKEW_SHARE = 0.2;

/** How long before its end a value is no longer handed out. */
function skewOf(lifetimeMs: number): number {
  return Math.min(SKEW_MS_MAX, lifetimeMs * SKEW_SHARE);
}

export interface KeychainCacheOptions {
  readonly store: Store;
  readonly secrets: Sealer;
}

export class KeychainCache {
  readonly #options: KeychainCacheOptions;
  /** Fetches under way, by key and refused version. */
  readonly #fetching = new Map<string, Promise<CachedValue>>();

  constructor(options: KeychainCacheOptions) {
    this.#options = options;
  }

  /** @throws what `fetch` throws; AppError unavailable KEYCHAIN_BUSY. */
  async get(request: CacheRequest): Promise<CachedValue> {
    const { place, refusedVersion } = request;
    const [row] = await useKeychain(this.#options.store.quick, [place.cacheKey]);
    return this.#usable(row, refusedVersion) ?? (await this.#fetchOnce(request));
  }

  /** A new value although the old one still holds. */
  async renew(request: CacheRequest): Promise<CachedValue> {
    const [row] = await readKeychain(this.#options.store.durable, [request.place.cacheKey]);
    return await this.#fetchOnce({ ...request, refusedVersion: row?.version }, false);
  }

  /** The first of the values that is there and holds. */
  async find(cacheKeys: readonly string[]): Promise<CachedValue | undefined> {
    const rows = await useKeychain(this.#options.store.quick, cacheKeys);
    for (const key of cacheKeys) {
      const value = this.#open(rows.find((row) => row.cacheKey === key));
      if (value !== undefined) {
        return value;
      }
    }
    return undefined;
  }

  async #fetchOnce(request: CacheRequest, isUsed = true): Promise<CachedValue> {
    const key = `${request.place.cacheKey} ${request.refusedVersion ?? ""}`;
    const known = this.#fetching.get(key);
    if (known !== undefined) {
      return await known;
    }
    const fetching = this.#fetchLeased(request, isUsed).finally(() => this.#fetching.delete(key));
    this.#fetching.set(key, fetching);
    return await fetching;
  }

  async #fetchLeased(request: CacheRequest, isUsed: boolean): Promise<CachedValue> {
    const { store } = this.#options;
    const { cacheKey } = request.place;
    for (let waitedMs = 0; waitedMs <= LEASE_MS; waitedMs += POLL_MS) {
      const leased = await leaseKeychain(store.durable, request.place, LEASE_MS);
      const [row] = await readKeychain(store.durable, [cacheKey]);
      const usable = this.#usable(row, request.refusedVersion);
      if (leased !== undefined) {
        return usable === undefined
          ? await this.#fetchHeld(request, row, isUsed)
          : await this.#released(cacheKey, usable);
      }
      // Another server is at it: its value, or the old one as long as that holds.
      const old = row?.version === request.refusedVersion ? undefined : this.#open(row);
      if (usable !== undefined || old !== undefined) {
        return usable ?? (old as CachedValue);
      }
      await sleep(POLL_MS);
    }
    const message = `Another server has been fetching ${request.place.name} for ${LEASE_MS / 1000} s`;
    throw new AppError("unavailable", "KEYCHAIN_BUSY", message);
  }

  async #released(cacheKey: string, value: CachedValue): Promise<CachedValue> {
    await releaseKeychain(this.#options.store.durable, cacheKey);
    return value;
  }

  async #fetchHeld(
    request: CacheRequest,
    row: KeychainValue | undefined,
    isUsed: boolean,
  ): Promise<CachedValue> {
    const { store, secrets } = this.#options;
    const { cacheKey } = request.place;
    const before = this.#unseal(row);
    try {
      const { data, lifetimeMs, kept = before?.kept } = await request.fetch(before?.kept);
      const isRenewed = request.isAutoRenewed && lifetimeMs !== undefined;
      const version = await storeKeychain(store.durable, {
        cacheKey,
        sealed: sealKeychain(secrets, cacheKey, { data, kept }),
        lifetimeMs,
        renewInMs: isRenewed ? lifetimeMs - 2 * skewOf(lifetimeMs) : undefined,
        isUsed,
      });
      return { data, version };
    } catch (error) {
      await releaseKeychain(store.durable, cacheKey);
      const isPassing = error instanceof AppError && error.isRetryable;
      const old = row?.version === request.refusedVersion ? undefined : this.#open(row);
      if (isPassing && old !== undefined) {
        return old;
      }
      throw error;
    }
  }

  /** The value unless it is refused or about to expire. */
  #usable(row: KeychainValue | undefined, refused: number | undefined): CachedValue | undefined {
    if (row === undefined || row.version === refused) {
      return undefined;
    }
    const { leftMs, lifetimeMs } = row;
    return leftMs !== null && leftMs <= skewOf(lifetimeMs ?? 0) ? undefined : this.#open(row);
  }

  /** The value unless it has expired. */
  #open(row: KeychainValue | undefined): CachedValue | undefined {
    const data = row === undefined || (row.leftMs ?? 1) <= 0 ? undefined : this.#unseal(row)?.data;
    return data === undefined || row === undefined ? undefined : { data, version: row.version };
  }

  /** A value that cannot be opened, for lack of its key, is as good as none: it is fetched anew. */
  #unseal(row: KeychainValue | undefined) {
    if (row === undefined || row.sealed === null) {
      return undefined;
    }
    try {
      return openKeychain(this.#options.secrets, { cacheKey: row.cacheKey, sealed: row.sealed });
    } catch (error) {
      if (error instanceof AppError) {
        return undefined;
      }
      throw error;
    }
  }
}
