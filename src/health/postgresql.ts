/** PostgreSQL: reachable, of this binary's schema, not held up, replicas near. */
import type { Secret } from "../core/secret.ts";
import type { DatabaseFacts, ReplicaFacts } from "../store/inspect.ts";
import { inspectDatabase } from "../store/inspect.ts";
import type { Check, Finding, Problem } from "./finding.ts";
import { CheckFailure, CONNECT_SHARE, degraded, down } from "./finding.ts";
import { describePeer } from "./peer.ts";
import { ageText, bytesText, count, listText } from "./words.ts";

export interface PostgresqlOptions {
  readonly url: Secret;
  readonly timeoutMs: number;
}

const SETTING = "DATABASE_URL or POSTGRES_*";
/** Beyond these the database is still up, and somebody should look. */
const CONNECTIONS_SHARE = 0.85;
const OLDEST_MS = 5 * 60_000;
const LAG_MS = 30_000;
const LAG_BYTES = 512 * 1024 ** 2;
const SLOT_BYTES = 1024 ** 3;
const DEAD_ROWS = 100_000;
const DEAD_SHARE = 0.5;

export function postgresqlCheck({ url, timeoutMs }: PostgresqlOptions): Check {
  return {
    component: "postgresql",
    run: async ({ signal, doing }) => {
      const { host } = new URL(url.reveal());
      doing(`PostgreSQL at ${host}`);
      const connectMs = timeoutMs * CONNECT_SHARE;
      try {
        const facts = await inspectDatabase(url.reveal(), { connectMs, timeoutMs, signal });
        return [postgresqlFinding(facts)];
      } catch (error) {
        throw await connectFailure(new URL(url.reveal()), error);
      }
    },
  };
}

export function postgresqlFinding(facts: DatabaseFacts): Finding {
  const { connections, serverVersion, schemaVersion, sizeBytes, replicas } = facts;
  const parts = [
    `${serverVersion}, schema ${schemaVersion}`,
    `${connections.used} of ${connections.max} connections`,
    bytesText(sizeBytes),
    ...(replicas.length === 0 ? [] : [count(replicas.length, "replica")]),
  ];
  return {
    component: "postgresql",
    summary: parts.join(" · "),
    problems: [
      ...writeProblems(facts),
      ...schemaProblems(facts),
      ...loadProblems(facts),
      ...replicas.flatMap(replicaProblems),
      ...slotProblems(facts),
      ...tableProblems(facts),
    ],
    facts: factsJson(facts),
  };
}

function factsJson(facts: DatabaseFacts): Finding["facts"] {
  return {
    server_version: facts.serverVersion,
    database: facts.database,
    database_bytes: facts.sizeBytes,
    schema_version: facts.schemaVersion,
    is_read_only: facts.isReadOnly,
    connections_used: facts.connections.used,
    connections_max: facts.connections.max,
    oldest_transaction_seconds: facts.oldest === undefined ? 0 : facts.oldest.ageMs / 1000,
    replicas: facts.replicas.map((each) => ({
      name: each.name,
      state: each.state,
      lag_seconds: each.lagMs / 1000,
      lag_bytes: each.lagBytes,
    })),
    tables: facts.tables.map((each) => ({
      name: each.name,
      live_rows: each.liveRows,
      dead_rows: each.deadRows,
      bytes: each.bytes,
    })),
  };
}

function writeProblems({ isStandby, isReadOnly }: DatabaseFacts): readonly Problem[] {
  if (isStandby) {
    return [
      down(
        "It is a standby and takes no writes",
        `Name the primary in ${SETTING}, or promote this one if the primary is lost.`,
      ),
    ];
  }
  return isReadOnly
    ? [
        down(
          "It takes no writes (default_transaction_read_only is on)",
          "Find out who set it: operators do when the disk is nearly full.",
        ),
      ]
    : [];
}

function schemaProblems({ schemaProblem, schemaVersion }: DatabaseFacts): readonly Problem[] {
  if (schemaProblem === undefined) {
    return [];
  }
  if (schemaProblem.code === "DATABASE_NEWER") {
    return [
      down(
        "The database was made by a newer noetl than this",
        "Use the noetl that the servers run, or a newer one.",
      ),
    ];
  }
  const message =
    schemaVersion === 0
      ? "The database is not migrated: it has none of the platform's tables"
      : `The database has schema ${schemaVersion}, and this noetl needs a newer one`;
  return [
    down(
      message,
      "Run `noetl db migrate`, or start a server, which does it; is it the right database?",
    ),
  ];
}

function loadProblems({ connections, oldest }: DatabaseFacts): readonly Problem[] {
  const { used, max } = connections;
  return [
    ...(used >= max * CONNECTIONS_SHARE
      ? [
          degraded(
            `${used} of ${max} connections are taken`,
            "Lower NOETL_DATABASE_POOL of the servers, or raise max_connections.",
          ),
        ]
      : []),
    ...(oldest !== undefined && oldest.ageMs >= OLDEST_MS
      ? [
          degraded(
            `A transaction of ${oldest.application || "an unnamed client"} has been open for ${ageText(oldest.ageMs)} (${oldest.state}, pid ${oldest.pid}): dead rows cannot be removed meanwhile`,
            `End it: SELECT pg_terminate_backend(${oldest.pid})`,
          ),
        ]
      : []),
  ];
}

function replicaProblems({ name, state, lagMs, lagBytes }: ReplicaFacts): readonly Problem[] {
  if (state !== "streaming") {
    return [degraded(`Replica ${name} is not streaming but ${state}`, "Read the replica's log.")];
  }
  return lagMs >= LAG_MS || lagBytes >= LAG_BYTES
    ? [
        degraded(
          `Replica ${name} is ${ageText(lagMs)} and ${bytesText(lagBytes)} behind`,
          "Look at its disk, its network and at long queries on it; a failover now would lose that much.",
        ),
      ]
    : [];
}

function slotProblems({ idleSlots }: DatabaseFacts): readonly Problem[] {
  return idleSlots
    .filter(({ keptBytes }) => keptBytes >= SLOT_BYTES)
    .map(({ name, keptBytes }) =>
      degraded(
        `Nobody reads replication slot ${name}, for which ${bytesText(keptBytes)} of WAL are kept`,
        `Bring its replica back, or SELECT pg_drop_replication_slot('${name}') before the disk is full.`,
      ),
    );
}

function tableProblems({ tables }: DatabaseFacts): readonly Problem[] {
  const bloated = tables.filter(
    ({ deadRows, liveRows }) => deadRows >= DEAD_ROWS && deadRows >= liveRows * DEAD_SHARE,
  );
  const names = bloated.map(({ name, deadRows }) => `${name} (${Math.round(deadRows)})`);
  return bloated.length === 0
    ? []
    : [
        degraded(
          `Dead rows are not removed from ${listText(names)}`,
          "Look for old transactions and replication slots, then for autovacuum's settings.",
        ),
      ];
}

/** By PostgreSQL's own codes. */
const REFUSALS: Readonly<Record<string, readonly [string, string]>> = {
  "28P01": ["refuses the password", `Correct the password in ${SETTING}.`],
  "28000": ["refuses the user", `Correct the user in ${SETTING}, or pg_hba.conf.`],
  "3D000": ["has no such database", `Create it, or correct the name in ${SETTING}.`],
  "42501": ["lets this user not read it", `Use the platform's own user in ${SETTING}.`],
  "53300": ["has no connection left", "Lower NOETL_DATABASE_POOL, or raise max_connections."],
  "57P03": ["is starting up or shutting down", "Wait; if it stays so, read its log."],
};

async function connectFailure(url: URL, error: unknown): Promise<CheckFailure> {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const said = error instanceof Error ? error.message : String(error);
  const refusal = REFUSALS[code];
  if (refusal !== undefined) {
    return new CheckFailure(`PostgreSQL at ${url.host} ${refusal[0]}: ${said}`, refusal[1]);
  }
  if (/^[0-9A-Z]{5}$/.test(code)) {
    return new CheckFailure(`PostgreSQL at ${url.host} answers: ${said}`, "Read its log.");
  }
  const peer = await describePeer({ host: url.hostname, port: Number(url.port) || 5432 });
  const why = peer.startsWith("a PostgreSQL") ? said : peer;
  return new CheckFailure(
    `No PostgreSQL at ${url.host}: ${why}`,
    why.includes("answers there")
      ? `Correct ${SETTING}: that is another program's port.`
      : `Start it, or correct ${SETTING}.`,
  );
}
