/**
 * Wraps the data keys of all secrets with the current key, a batch at a time, while servers run:
 * readers have both keys, and a secret that is saved meanwhile is newer and stays. What was done is
 * done: begun again after an interruption it goes on with the rest.
 */
import { AppError } from "../core/errors.ts";
import type { Logger } from "../observability/log.ts";
import type { Sealer } from "../secrets/sealing.ts";
import type { Pool } from "../store/pool.ts";
import type { SealedRow, SealedTable } from "../store/sealed.ts";
import { countSealed, listSealedBefore, replaceSealed, SEALED_TABLES } from "../store/sealed.ts";

export interface Rotation {
  /** The key that wraps from now on. */
  readonly keyId: string;
  readonly rewrapped: number;
  /** Secrets that could not be moved: their key is missing here, or their text was changed. */
  readonly failed: readonly { readonly name: string; readonly error: string }[];
  /** Secrets by the key that wraps them, after the rotation. */
  readonly keys: Readonly<Record<string, number>>;
}

const BATCH = 200;
const FAILED_MAX = 100;

export async function rotateSecrets(
  pool: Pool,
  { secrets, log }: { readonly secrets: Sealer; readonly log: Logger },
): Promise<Rotation> {
  let rewrapped = 0;
  const failed: Rotation["failed"][number][] = [];
  for (const table of SEALED_TABLES) {
    for (let afterKey = ""; ; ) {
      const place = { keyId: secrets.keyId, afterKey, limit: BATCH };
      const rows = await listSealedBefore(pool, table, place);
      for (const row of rows) {
        const problem = await rewrapRow(pool, secrets, table, row);
        rewrapped += problem === undefined ? 1 : 0;
        if (problem !== undefined && failed.length < FAILED_MAX) {
          failed.push({ name: row.name, error: problem });
        }
      }
      const last = rows.at(-1);
      if (last === undefined) {
        break;
      }
      afterKey = last.key;
      log.info("secrets wrapped anew", { table, rewrapped, failed: failed.length });
    }
  }
  return { keyId: secrets.keyId, rewrapped, failed, keys: await countSealed(pool) };
}

/** What is wrong; undefined when the row is wrapped by the current key, by whomever. */
async function rewrapRow(
  pool: Pool,
  secrets: Sealer,
  table: SealedTable,
  { key, sealed }: SealedRow,
): Promise<string | undefined> {
  try {
    await replaceSealed(pool, table, { key, sealed, next: secrets.rewrap(sealed) });
    return undefined;
  } catch (error) {
    if (error instanceof AppError) {
      return error.message;
    }
    throw error;
  }
}

/** Warns of secrets that this server cannot open. */
export async function checkKeys(
  pool: Pool,
  { secrets, log }: { readonly secrets: Sealer; readonly log: Logger },
): Promise<void> {
  const keys = await countSealed(pool);
  const missing = Object.entries(keys).filter(([keyId]) => !secrets.keyIds.includes(keyId));
  for (const [keyId, count] of missing) {
    log.error("secrets cannot be opened: their key is missing", {
      key_id: keyId,
      count,
      setting: "NOETL_ENCRYPTION_OLD_KEYS",
    });
  }
}
