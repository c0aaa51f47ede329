/** How credentials are sealed: bound to their name, so that one row's text is useless in another. */
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Sealer } from "./sealing.ts";

export function sealCredential(sealer: Sealer, name: string, data: JsonObject): string {
  return sealer.seal(data, `credential:${name}`);
}

/** @throws AppError internal SEAL_KEY_WRONG, SEAL_BROKEN. */
export function openCredential(
  sealer: Sealer,
  row: { readonly name: string; readonly sealed: string },
): JsonObject {
  const data = sealer.open(row.sealed, `credential:${row.name}`);
  return isJsonObject(data) ? data : {};
}
