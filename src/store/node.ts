/** Node numbers for ids, leased so that no two servers ever make ids with the same one. */
import type { Sql } from "./pool.ts";

/** The layout of ids has ten bits for it. */
const NODES = 1024;

/**
 * Leases the number that has been free for longest, at least for `restMs`: a former holder's clock
 * may have been ahead of ours. Undefined when there is none, or another server took it first: try
 * again.
 */
export async function takeNode(
  sql: Sql,
  lease: { readonly holder: string; readonly leaseMs: number; readonly restMs: number },
): Promise<number | undefined> {
  const rows = await sql<{ node: number }[]>`
    INSERT INTO noetl.node AS n (node, holder, lease_until)
    SELECT number, ${lease.holder}, now() + ${lease.leaseMs} * interval '1 millisecond'
    FROM generate_series(0, ${NODES - 1}) AS number
    LEFT JOIN noetl.node AS taken ON taken.node = number
    WHERE taken.node IS NULL
      OR taken.lease_until < now() - ${lease.restMs} * interval '1 millisecond'
    ORDER BY taken.lease_until NULLS FIRST, number
    LIMIT 1
    ON CONFLICT (node) DO UPDATE
    SET holder = excluded.holder, lease_until = excluded.lease_until
    WHERE n.lease_until < now() - ${lease.restMs} * interval '1 millisecond'
    RETURNING node`;
  return rows[0]?.node;
}

/** @returns false when the number is no longer this holder's. */
export async function renewNode(
  sql: Sql,
  lease: { readonly node: number; readonly holder: string; readonly leaseMs: number },
): Promise<boolean> {
  const rows = await sql`
    UPDATE noetl.node
    SET lease_until = now() + ${lease.leaseMs} * interval '1 millisecond'
    WHERE node = ${lease.node} AND holder = ${lease.holder} AND lease_until > now()
    RETURNING node`;
  return rows.length > 0;
}
