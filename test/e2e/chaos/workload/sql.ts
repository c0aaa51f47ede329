/** Statements that may run again, in the very database that is killed. */
import { loopResults, RETRY, SQL_CREDENTIAL, same } from "../playbook.ts";
import type { Workload } from "../workload.ts";

const ITEMS = [0, 1, 2, 3];

export function sql(): Workload {
  const tool = {
    kind: "postgres",
    auth: SQL_CREDENTIAL,
    query: `INSERT INTO chaos_effect (execution_id, item) VALUES ($1, $2)
      ON CONFLICT (execution_id, item) DO UPDATE SET tries = chaos_effect.tries + 1
      RETURNING item`,
    params: ["{{ execution_id }}", "{{ item }}"],
    spec: RETRY,
  };
  const loop = { in: ITEMS, iterator: "item", spec: { mode: "sequential" } };
  return {
    name: "sql",
    weight: 1,
    playbooks: [{ path: "chaos/sql", workflow: [{ step: "items", loop, tool }] }],
    ends: ["COMPLETED"],
    prepare: async (world) => {
      await world.sql(
        (db) => db`
          CREATE TABLE IF NOT EXISTS chaos_effect (
            execution_id text, item int, tries int NOT NULL DEFAULT 1,
            PRIMARY KEY (execution_id, item))`,
      );
    },
    verify: ({ results }) =>
      same(
        "items",
        loopResults(results["items"]).map((result) => Object(result).rows?.[0]?.item),
        ITEMS,
      ),
  };
}
