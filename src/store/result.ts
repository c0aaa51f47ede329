/**
 * Values over the inline limit: content-addressed within an execution, zstd-compressed, in pieces so
 * that reading and writing never need one huge row.
 */
import type { ExecutionId } from "../core/ids.ts";
import type { Pool, Sql } from "./pool.ts";

const CHUNK_BYTES = 1024 * 1024;
const COMPRESSION_LEVEL = 3;

export interface StoredResult {
  readonly executionId: ExecutionId;
  /** SHA-256 of the JSON text, hex. */
  readonly sha256: string;
  /** For people: the step or variable that it belongs to. */
  readonly name: string;
  /** JSON text, UTF-8. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** Idempotent: the same content again changes nothing. Durable when it resolves. */
export async function saveResult(pool: Pool, result: StoredResult): Promise<void> {
  if (await hasResult(pool, result)) {
    return;
  }
  const packed = await Bun.zstdCompress(result.data, { level: COMPRESSION_LEVEL });
  await pool.begin(async (sql) => {
    for (let position = 0; position * CHUNK_BYTES < packed.length; position++) {
      const from = position * CHUNK_BYTES;
      await saveChunk(sql, result, position, packed.subarray(from, from + CHUNK_BYTES));
    }
    await sql`
      INSERT INTO noetl.result (execution_id, sha256, name, size, stored_size)
      VALUES (
        ${result.executionId}, ${result.sha256}, ${result.name}, ${result.data.length},
        ${packed.length}
      )
      ON CONFLICT DO NOTHING`;
  });
}

async function hasResult(
  sql: Sql,
  { executionId, sha256 }: Pick<StoredResult, "executionId" | "sha256">,
): Promise<boolean> {
  const rows = await sql`
    SELECT 1 FROM noetl.result WHERE execution_id = ${executionId} AND sha256 = ${sha256}`;
  return rows.length > 0;
}

async function saveChunk(
  sql: Sql,
  { executionId, sha256 }: Pick<StoredResult, "executionId" | "sha256">,
  position: number,
  data: Uint8Array,
): Promise<void> {
  await sql`
    INSERT INTO noetl.result_chunk (execution_id, sha256, position, data)
    VALUES (${executionId}, ${sha256}, ${position}, ${data})
    ON CONFLICT DO NOTHING`;
}

/** JSON text, UTF-8; undefined when there is no such result. */
export async function loadResult(
  sql: Sql,
  executionId: ExecutionId,
  sha256: string,
): Promise<Uint8Array | undefined> {
  if (!(await hasResult(sql, { executionId, sha256 }))) {
    return undefined;
  }
  const chunks: Uint8Array[] = [];
  for (;;) {
    const [chunk] = await sql<{ data: Uint8Array }[]>`
      SELECT data
      FROM noetl.result_chunk
      WHERE execution_id = ${executionId} AND sha256 = ${sha256} AND position = ${chunks.length}`;
    if (chunk === undefined) {
      return await Bun.zstdDecompress(Buffer.concat(chunks));
    }
    chunks.push(chunk.data);
  }
}
