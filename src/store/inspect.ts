/** How the platform's database is, for `noetl health`: one connection, a few reads of the statistics. */
import postgres from "postgres";
import { AppError } from "../core/errors.ts";
import { checkSchema } from "./migrate.ts";
import type { Sql } from "./pool.ts";

export interface DatabaseFacts {
  /** Of PostgreSQL, for example `18.4`. */
  readonly serverVersion: string;
  readonly database: string;
  readonly sizeBytes: number;
  /** It takes no writes: a standby, or set so. */
  readonly isReadOnly: boolean;
  readonly isStandby: boolean;
  readonly connections: { readonly used: number; readonly max: number };
  /** Of clients; what is hidden from this user is left out. */
  readonly oldest: OldestTransaction | undefined;
  /** Why this binary cannot work with the schema: `DATABASE_OUTDATED` or `DATABASE_NEWER`. */
  readonly schemaProblem: AppError | undefined;
  /** Last applied migration; 0 for none. */
  readonly schemaVersion: number;
  readonly replicas: readonly ReplicaFacts[];
  /** Replication slots that nobody reads, and what the database keeps for them. */
  readonly idleSlots: readonly { readonly name: string; readonly keptBytes: number }[];
  /** The platform's tables, those with the most dead rows first. */
  readonly tables: readonly TableFacts[];
}

export interface OldestTransaction {
  readonly ageMs: number;
  readonly state: string;
  readonly application: string;
  readonly pid: number;
}

export interface ReplicaFacts {
  readonly name: string;
  /** `streaming` when it is well. */
  readonly state: string;
  readonly lagMs: number;
  readonly lagBytes: number;
}

export interface TableFacts {
  readonly name: string;
  readonly liveRows: number;
  readonly deadRows: number;
  readonly bytes: number;
}

export interface InspectDatabaseOptions {
  /** Until the server has let us in. */
  readonly connectMs: number;
  /** Of one statement. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const TABLES_MAX = 20;

/**
 * Connects and reads. Aborting `signal` cuts the connection.
 *
 * @throws whatever the client throws when it cannot connect or is refused.
 */
export async function inspectDatabase(
  url: string,
  { connectMs, timeoutMs, signal }: InspectDatabaseOptions,
): Promise<DatabaseFacts> {
  const sql = postgres(url, {
    max: 1,
    connect_timeout: connectMs / 1000,
    onnotice: () => undefined,
    fetch_types: false,
    connection: { application_name: "noetl health", statement_timeout: timeoutMs },
  });
  const cut = (): void => void sql.end({ timeout: 0 }).catch(() => undefined);
  signal.addEventListener("abort", cut, { once: true });
  try {
    await greet(sql, connectMs);
    return await read(sql);
  } finally {
    signal.removeEventListener("abort", cut);
    cut();
  }
}

/** The client's own limit ends when a connection is there, whoever accepted it. @throws AppError timeout. */
async function greet(sql: Sql, limitMs: number): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const silent = new AppError(
    "timeout",
    "DATABASE_SILENT",
    "It accepts connections and says nothing",
  );
  const timer = setTimeout(() => reject(silent), limitMs);
  try {
    await Promise.race([sql`SELECT 1`, promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function read(sql: Sql): Promise<DatabaseFacts> {
  const server = await readServer(sql);
  return {
    ...server,
    connections: { used: server.used, max: server.max },
    oldest: await readOldest(sql),
    ...(await readSchema(sql)),
    ...(await readReplication(sql, server.isStandby)),
    tables: await readTables(sql),
  };
}

async function readServer(sql: Sql) {
  const [row] = await sql<
    {
      serverVersion: string;
      database: string;
      sizeBytes: number;
      isReadOnly: boolean;
      isStandby: boolean;
      used: number;
      max: number;
    }[]
  >`
    SELECT
      split_part(current_setting('server_version'), ' ', 1) AS "serverVersion",
      current_database() AS database,
      pg_database_size(current_database())::float8 AS "sizeBytes",
      pg_is_in_recovery() AS "isStandby",
      current_setting('transaction_read_only') = 'on' AS "isReadOnly",
      (SELECT sum(numbackends)::int FROM pg_stat_database) AS used,
      current_setting('max_connections')::int AS max`;
  if (row === undefined) {
    throw new AppError("internal", "DATABASE_SILENT", "The database answered with no row");
  }
  return row;
}

async function readOldest(sql: Sql): Promise<OldestTransaction | undefined> {
  const [row] = await sql<OldestTransaction[]>`
    SELECT
      (extract(epoch FROM now() - xact_start) * 1000)::float8 AS "ageMs",
      coalesce(state, '') AS state,
      coalesce(application_name, '') AS application,
      pid
    FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    ORDER BY xact_start
    LIMIT 1`;
  return row;
}

async function readSchema(
  sql: Sql,
): Promise<Pick<DatabaseFacts, "schemaProblem" | "schemaVersion">> {
  const [there] = await sql<{ isThere: boolean }[]>`
    SELECT to_regclass('noetl.schema_version') IS NOT NULL AS "isThere"`;
  const rows =
    there?.isThere === true
      ? await sql<{ version: number }[]>`
          SELECT coalesce(max(version), 0) AS version FROM noetl.schema_version`
      : [];
  const schemaVersion = rows[0]?.version ?? 0;
  try {
    await checkSchema(sql);
    return { schemaProblem: undefined, schemaVersion };
  } catch (error) {
    if (error instanceof AppError) {
      return { schemaProblem: error, schemaVersion };
    }
    throw error;
  }
}

/**
 * A standby cannot say how far it is ahead of others, and nobody asks it. Whose state this user may not see
 * is left out, and so are copies for backups.
 */
async function readReplication(
  sql: Sql,
  isStandby: boolean,
): Promise<Pick<DatabaseFacts, "replicas" | "idleSlots">> {
  if (isStandby) {
    return { replicas: [], idleSlots: [] };
  }
  const replicas = await sql<ReplicaFacts[]>`
    SELECT
      coalesce(nullif(application_name, ''), host(client_addr), 'replica') AS name,
      state,
      coalesce(extract(epoch FROM replay_lag) * 1000, 0)::float8 AS "lagMs",
      coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::float8 AS "lagBytes"
    FROM pg_stat_replication
    WHERE state <> 'backup'
    ORDER BY 1`;
  const idleSlots = await sql<{ name: string; keptBytes: number }[]>`
    SELECT
      slot_name AS name,
      coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::float8 AS "keptBytes"
    FROM pg_replication_slots
    WHERE NOT active
    ORDER BY 2 DESC`;
  return { replicas: [...replicas], idleSlots: [...idleSlots] };
}

async function readTables(sql: Sql): Promise<readonly TableFacts[]> {
  const rows = await sql<TableFacts[]>`
    SELECT
      relname AS name,
      n_live_tup::float8 AS "liveRows",
      n_dead_tup::float8 AS "deadRows",
      pg_total_relation_size(relid)::float8 AS bytes
    FROM pg_stat_user_tables
    WHERE schemaname = 'noetl'
    ORDER BY n_dead_tup DESC, relname
    LIMIT ${TABLES_MAX}`;
  return [...rows];
}
