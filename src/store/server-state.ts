/** What the database knows of the servers that use it, and of itself. */
import { assert } from "../core/assert.ts";
import type { Sql } from "./pool.ts";

export interface ConnectionUse {
  /** Connections of all servers on this database. */
  readonly open: number;
  /** Of these, at work on a statement. */
  readonly active: number;
  /** Of these, in wait for a lock. */
  readonly blocked: number;
}

/** Of the connections that call themselves as this one does. */
export async function readConnectionUse(sql: Sql): Promise<ConnectionUse> {
  const [row] = await sql<ConnectionUse[]>`
    SELECT
      count(*)::int AS open,
      (count(*) FILTER (WHERE state = 'active'))::int AS active,
      (count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'Lock'))::int AS blocked
    FROM pg_stat_activity
    WHERE datname = current_database()
      AND application_name = current_setting('application_name')`;
  return row ?? { open: 0, active: 0, blocked: 0 };
}

/** What tells this platform from others that use the same machines: a uuid, made with the database. */
export async function readPlatformId(sql: Sql): Promise<string> {
  const [row] = await sql<{ id: string }[]>`SELECT platform_id AS id FROM noetl.platform`;
  assert(row !== undefined, "the migrations have made a platform id");
  return row.id;
}

/** Names of the platform's tables, without partitions, in order. */
export async function listTables(sql: Sql): Promise<readonly string[]> {
  const rows = await sql<{ name: string }[]>`
    SELECT c.relname AS name
    FROM pg_class AS c
    WHERE c.relnamespace = 'noetl'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition
    ORDER BY c.relname`;
  return rows.map(({ name }) => name);
}
