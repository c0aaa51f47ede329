/** What must be true of the database and of the outside world when all is quiet again. */
import { sleep } from "../../../src/core/clock.ts";
import type { Cluster } from "./cluster.ts";
import type { Accepted } from "./load.ts";
import type { Outcome } from "./scenario.ts";
import { EFFECT_ITEMS } from "./scenario.ts";
import type { Sink } from "./sink.ts";

export interface Verdict {
  /** All executions of the database, children included. */
  readonly executions: number;
  readonly events: number;
  /** Accepted, but unknown to the database or known twice. */
  readonly lost: readonly string[];
  /** Not over after the quiet time, or with work left behind. */
  readonly stuck: readonly string[];
  /** Two terminal events, two ends of one place, or more effects than tries. */
  readonly doubled: readonly string[];
  /** A wrong end, a wrong or disordered result, a gap in a log. */
  readonly wrong: readonly string[];
  /** Ended FAILED because the work was lost more often than its limit of tries allows. */
  readonly exhausted: readonly string[];
  /** Commands that were handed out again. */
  readonly retried: number;
}

const QUIET_MS = 60_000;

export async function checkAll(
  cluster: Cluster,
  accepted: readonly Accepted[],
  sink: Sink,
): Promise<Verdict> {
  const quiet = await waitForQuiet(cluster);
  const [{ executions, events, retried } = { executions: 0, events: 0, retried: 0 }] =
    await cluster.sql<{ executions: number; events: number; retried: number }[]>`
      SELECT (SELECT count(*)::int FROM noetl.execution) AS executions,
             (SELECT count(*)::int FROM noetl.event) AS events,
             (SELECT count(*)::int FROM noetl.event WHERE type = 'command.retried') AS retried`;
  const ends = await checkEnds(cluster, accepted);
  const results = await checkResults(cluster, accepted, sink);
  return {
    executions,
    events,
    retried,
    lost: await findLost(cluster, accepted),
    stuck: [...quiet, ...(await findLeftovers(cluster))],
    doubled: [
      ...(await findDoubled(cluster)),
      ...(await findExtraEffects(cluster, accepted, sink)),
    ],
    wrong: [...(await findGaps(cluster)), ...ends.wrong, ...results],
    exhausted: ends.exhausted,
  };
}

/** Names what is still going on when the time is over. */
async function waitForQuiet({ sql }: Cluster): Promise<readonly string[]> {
  const deadline = performance.now() + QUIET_MS;
  for (;;) {
    const open = await sql<{ id: string; path: string; status: string }[]>`
      SELECT execution_id::text AS id, path, status FROM noetl.execution
      WHERE status IN ('pending', 'running')`;
    if (open.length === 0 || performance.now() > deadline) {
      return open.map(({ id, path, status }) => `${path} ${id} is ${status}`);
    }
    await sleep(200);
  }
}

async function findLost(
  { sql }: Cluster,
  accepted: readonly Accepted[],
): Promise<readonly string[]> {
  const rows = await sql<{ id: string; key: string }[]>`
    SELECT execution_id::text AS id, dedup_key AS key FROM noetl.execution WHERE dedup_key IS NOT NULL`;
  const idsByKey = Map.groupBy(rows, ({ key }) => key);
  return accepted.flatMap(({ executionId, dedupKey }) => {
    const ids = (idsByKey.get(dedupKey) ?? []).map(({ id }) => id);
    return ids.length === 1 && ids[0] === executionId
      ? []
      : [
          `${dedupKey} was accepted as ${executionId}, the database has ${ids.join(" and ") || "none"}`,
        ];
  });
}

async function findLeftovers({ sql }: Cluster): Promise<readonly string[]> {
  const rows = await sql<{ what: string }[]>`
    SELECT format('command %s of %s is left (%s)', command_id, execution_id, status) AS what
    FROM noetl.command
    UNION ALL
    SELECT format('timer %s of %s is left', timer_id, execution_id) FROM noetl.timer`;
  return rows.map(({ what }) => what);
}

async function findDoubled({ sql }: Cluster): Promise<readonly string[]> {
  const rows = await sql<{ what: string }[]>`
    SELECT format('%s has %s terminal events', execution_id, count(*)) AS what
    FROM noetl.event
    WHERE type IN ('playbook.completed', 'playbook.failed', 'playbook.cancelled')
    GROUP BY execution_id HAVING count(*) > 1
    UNION ALL
    SELECT format('%s: step %s, index %s ended %s times',
                  execution_id, step, payload->>'index', count(*))
    FROM noetl.event
    WHERE type IN ('call.done', 'call.error')
    GROUP BY execution_id, step, payload->>'visit', payload->>'index' HAVING count(*) > 1
    UNION ALL
    SELECT format('%s: two children for step %s, index %s', execution_id, step, payload->>'index')
    FROM noetl.event
    WHERE type = 'child.started'
    GROUP BY execution_id, step, payload->>'visit', payload->>'index' HAVING count(*) > 1
    UNION ALL
    SELECT format('dedup key %s has %s executions', dedup_key, count(*))
    FROM noetl.execution WHERE dedup_key IS NOT NULL
    GROUP BY dedup_key HAVING count(*) > 1`;
  return rows.map(({ what }) => what);
}

/** Each try may have one effect, whether or not its end was heard of. */
async function findExtraEffects(
  { sql }: Cluster,
  accepted: readonly Accepted[],
  sink: Sink,
): Promise<readonly string[]> {
  const rows = await sql<{ id: string; item: number; attempt: number }[]>`
    SELECT execution_id::text AS id, (payload->>'index')::int AS item,
           (payload->>'attempt')::int AS attempt
    FROM noetl.event WHERE type = 'call.done' AND step = 'items'`;
  const attempts = new Map(rows.map(({ id, item, attempt }) => [`${id} ${item}`, attempt]));
  return accepted
    .filter(({ scenario }) => scenario.name === "effects")
    .flatMap(({ executionId }) =>
      Array.from({ length: EFFECT_ITEMS }, (_, item) => {
        const effects = sink.effects(executionId, item);
        const tries = attempts.get(`${executionId} ${item}`) ?? 0;
        return effects > tries
          ? `${executionId}: item ${item}, ${effects} effects of ${tries} tries`
          : "";
      }),
    )
    .filter((text) => text !== "");
}

async function findGaps({ sql }: Cluster): Promise<readonly string[]> {
  const rows = await sql<{ what: string }[]>`
    SELECT format('%s: %s events up to %s, the row says %s',
                  e.execution_id, count(v.seq), max(v.seq), e.seq) AS what
    FROM noetl.execution e LEFT JOIN noetl.event v USING (execution_id)
    GROUP BY e.execution_id, e.seq
    HAVING count(v.seq) <> e.seq OR max(v.seq) <> e.seq
    UNION ALL
    SELECT format('%s: the row says %s, the last event is %s', e.execution_id, e.status, v.type)
    FROM noetl.execution e JOIN noetl.event v ON v.execution_id = e.execution_id AND v.seq = e.seq
    WHERE e.status NOT IN ('pending', 'running') AND v.type <> 'playbook.' || e.status`;
  return rows.map(({ what }) => what);
}

async function checkEnds(
  { sql }: Cluster,
  accepted: readonly Accepted[],
): Promise<Pick<Verdict, "wrong" | "exhausted">> {
  const rows = await sql<{ id: string; status: string; error: unknown }[]>`
    SELECT execution_id::text AS id, upper(status) AS status, error FROM noetl.execution`;
  const byId = new Map(rows.map((row) => [row.id, row]));
  const wrong: string[] = [];
  const exhausted: string[] = [];
  for (const { executionId, scenario } of accepted) {
    const row = byId.get(executionId);
    if (row !== undefined && row.status !== scenario.expected) {
      const text = `${scenario.name} ${executionId} is ${row.status}: ${JSON.stringify(row.error)}`;
      (Object(row.error).kind === "worker_lost" ? exhausted : wrong).push(text);
    }
  }
  return { wrong, exhausted };
}

async function checkResults(
  cluster: Cluster,
  accepted: readonly Accepted[],
  sink: Sink,
): Promise<readonly string[]> {
  const problems: string[] = [];
  for (const [index, { executionId, scenario }] of accepted.entries()) {
    const api = cluster.apis[index % cluster.apis.length];
    const execution = await api?.execution(executionId);
    if (scenario.verify === undefined || execution?.status !== scenario.expected) {
      continue;
    }
    const steps = (await api?.steps(executionId)) ?? [];
    const results = Object.fromEntries(steps.map(({ step, result }) => [step, result]));
    const outcome: Outcome = { executionId, results, sink };
    problems.push(
      ...scenario.verify(outcome).map((text) => `${scenario.name} ${executionId}: ${text}`),
    );
  }
  return problems;
}
