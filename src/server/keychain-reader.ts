/** What the HTTP API reads and writes of keychains. */
import type { JsonObject } from "../core/json.ts";
import { keychainKey } from "../orchestrator/keychain.ts";
import { openKeychain, sealKeychain } from "../secrets/credential.ts";
import type { Sealer } from "../secrets/sealing.ts";
import {
  findKeychainEntry,
  leaseKeychain,
  listKeychain,
  readKeychain,
  removeKeychain,
  storeKeychain,
} from "../store/keychain.ts";
import type { Sql } from "../store/pool.ts";
import type { KeychainKey, KeychainRow, NewKeychain, ServerReader } from "./backend.ts";

type KeychainReader = Pick<
  ServerReader,
  "listKeychain" | "getKeychain" | "openKeychain" | "saveKeychain" | "deleteKeychain"
>;

/** Values that somebody sets are not fetched by anybody else. */
const LEASE_MS = 1000;

export function createKeychainReader(sql: Sql, secrets: Sealer): KeychainReader {
  return {
    listKeychain: async (catalogId) => await listKeychain(sql, catalogId),
    getKeychain: async (place) => await findKeychainEntry(sql, keyOf(place)),
    openKeychain: async (place) => await openValue(sql, secrets, keyOf(place)),
    saveKeychain: async (value) => await saveValue(sql, secrets, value),
    deleteKeychain: async (place) => await removeKeychain(sql, keyOf(place)),
  };
}

function keyOf({ name, scope, catalogId, executionId }: KeychainKey): string {
  return keychainKey(name, scope, { catalogId, executionId });
}

async function openValue(
  sql: Sql,
  secrets: Sealer,
  cacheKey: string,
): Promise<JsonObject | undefined> {
  const [row] = await readKeychain(sql, [cacheKey]);
  return row === undefined || row.sealed === null || (row.leftMs ?? 1) <= 0
    ? undefined
    : openKeychain(secrets, { cacheKey, sealed: row.sealed }).data;
}

async function saveValue(sql: Sql, secrets: Sealer, value: NewKeychain): Promise<KeychainRow> {
  const { name, scope, catalogId, executionId, data, lifetimeMs } = value;
  const cacheKey = keyOf(value);
  const owner = scope === "shared" ? undefined : catalogId;
  await leaseKeychain(sql, { cacheKey, name, scope, catalogId: owner, executionId }, LEASE_MS);
  const sealed = sealKeychain(secrets, cacheKey, { data });
  await storeKeychain(sql, { cacheKey, sealed, lifetimeMs, renewInMs: undefined, isUsed: false });
  const row = await findKeychainEntry(sql, cacheKey);
  const now = Date.now();
  return (
    row ?? {
      // Deleted again by somebody else in the same moment.
      cacheKey,
      name,
      scope,
      executionId: executionId ?? null,
      autoRenew: false,
      accessCount: 0,
      expiresAtMs: lifetimeMs === undefined ? null : now + lifetimeMs,
      createdAtMs: now,
      updatedAtMs: now,
      usedAtMs: now,
      isExpired: false,
    }
  );
}
