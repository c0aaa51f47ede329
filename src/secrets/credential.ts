/** How secrets are sealed: bound to their row, so that one row's text is useless in another. */
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Sealer } from "./sealing.ts";

export function sealCredential(sealer: Sealer, name: string, data: JsonObject): string {
  return sealer.seal(data, `credential:${name}`);
}

/** @throws AppError conflict SEAL_KEY_MISSING, internal SEAL_BROKEN. */
export function openCredential(
  sealer: Sealer,
  row: { readonly name: string; readonly sealed: string },
): JsonObject {
  const data = sealer.open(row.sealed, `credential:${row.name}`);
  return isJsonObject(data) ? data : {};
}

/** A value of the keychain. */
export interface KeychainContent {
  readonly data: JsonObject;
  /** For the next fetch; given to nobody. */
  readonly kept?: JsonObject | undefined;
}

export function sealKeychain(
  sealer: Sealer,
  cacheKey: string,
  { data, kept }: KeychainContent,
): string {
  const content = { data, ...(kept === undefined ? {} : { kept }) };
  return sealer.seal(content, `keychain:${cacheKey}`);
}

/** @throws AppError conflict SEAL_KEY_MISSING, internal SEAL_BROKEN. */
export function openKeychain(
  sealer: Sealer,
  row: { readonly cacheKey: string; readonly sealed: string },
): KeychainContent {
  const content = sealer.open(row.sealed, `keychain:${row.cacheKey}`);
  const { data, kept } = isJsonObject(content) ? content : {};
  return { data: isJsonObject(data) ? data : {}, kept: isJsonObject(kept) ? kept : undefined };
}
