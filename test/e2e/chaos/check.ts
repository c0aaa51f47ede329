/** What must be true of the database and of the outside world when all is quiet again. */
import { sleep } from "../../../src/core/clock.ts";
import { errorMessage } from "../../../src/core/errors.ts";
import type { Sql } from "./sql.ts";
import type { Finding, Tally, Verdict } from "./verdict.ts";
import type { Accepted, End, Problems, Workload, World } from "./workload.ts";

const QUIET_MS = 60_000;
/** Reservations of places last half a minute. */
const LEFTOVERS_MS = 35_000;

export async function checkAll(
  world: World,
  workloads: readonly Workload[],
  accepted: readonly Accepted[],
): Promise<Verdict> {
  const unfinished = await waitUntilNone(() => findUnfinished(world.sql), QUIET_MS);
  const leftovers =
    unfinished.length > 0
      ? await findLeftovers(world.sql)
      : await waitUntilNone(() => findLeftovers(world.sql), LEFTOVERS_MS);
  const executions = await readExecutions(world.sql);
  const each = await Promise.all(
    workloads.map((workload) => checkWorkload(world, workload, { accepted, executions })),
  );
  return {
    ...(await countAll(world.sql)),
    tallies: workloads.map(({ name }) => tallyOf(name, accepted, executions)),
    findings: [
      ...unfinished,
      ...leftovers,
      ...(await findLost(world.sql, accepted)),
      ...(await findDoubled(world.sql)),
      ...(await findGaps(world.sql)),
      ...each.flat(),
    ],
  };
}

interface Execution {
  readonly id: string;
  readonly path: string;
  readonly status: string;
  readonly error: unknown;
}

/** Of `chaos/NAME/…`. */
function workloadOf(path: string): string {
  return path.split("/")[1] ?? "";
}

interface Row {
  readonly path: string;
  readonly what: string;
}

function toFindings(kind: Finding["kind"], rows: readonly Row[]): readonly Finding[] {
  return rows.map(({ path, what }) => ({ kind, workload: workloadOf(path), text: what }));
}

/** What is still found when the time is over. */
async function waitUntilNone(
  find: () => Promise<readonly Finding[]>,
  limitMs: number,
): Promise<readonly Finding[]> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const found = await find();
    if (found.length === 0 || performance.now() > deadline) {
      return found;
    }
    await sleep(200);
  }
}

async function findUnfinished(sql: Sql): Promise<readonly Finding[]> {
  const rows = await sql<Row>(
    (db) => db`
      SELECT path, format('%s %s is %s (place: %s)', path, execution_id, status, place) AS what
      FROM noetl.execution WHERE status IN ('pending', 'running')`,
  );
  return toFindings("stuck", rows);
}

async function findLeftovers(sql: Sql): Promise<readonly Finding[]> {
  const rows = await sql<Row>(
    (db) => db`
      SELECT path, format('command %s of %s is left (%s)', command_id, execution_id, c.status) AS what
      FROM noetl.command c LEFT JOIN noetl.execution USING (execution_id)
      UNION ALL
      SELECT path, format('timer %s of %s is left', timer_id, execution_id)
      FROM noetl.timer LEFT JOIN noetl.execution USING (execution_id)
      UNION ALL
      SELECT path, format('%s has ended and its place is %s', execution_id, place)
      FROM noetl.execution WHERE ended_at IS NOT NULL AND place IS NOT NULL`,
  );
  return toFindings(
    "stuck",
    rows.map((row) => ({ ...row, path: row.path ?? "" })),
  );
}

async function countAll(sql: Sql): Promise<Pick<Verdict, "executions" | "events" | "retried">> {
  const [counts] = await sql<Pick<Verdict, "executions" | "events" | "retried">>(
    (db) => db`
      SELECT (SELECT count(*)::int FROM noetl.execution) AS executions,
             (SELECT count(*)::int FROM noetl.event) AS events,
             (SELECT count(*)::int FROM noetl.event WHERE type = 'command.retried') AS retried`,
  );
  return counts ?? { executions: 0, events: 0, retried: 0 };
}

async function readExecutions(sql: Sql): Promise<ReadonlyMap<string, Execution>> {
  const rows = await sql<Execution>(
    (db) => db`
      SELECT execution_id::text AS id, path, upper(status) AS status, error FROM noetl.execution`,
  );
  return new Map(rows.map((row) => [row.id, row]));
}

function tallyOf(
  workload: string,
  accepted: readonly Accepted[],
  executions: ReadonlyMap<string, Execution>,
): Tally {
  const own = [...executions.values()].filter(({ path }) => workloadOf(path) === workload);
  const countOf = (end: End): number => own.filter(({ status }) => status === end).length;
  return {
    workload,
    accepted: accepted.filter((one) => one.workload === workload).length,
    executions: own.length,
    completed: countOf("COMPLETED"),
    failed: countOf("FAILED"),
    cancelled: countOf("CANCELLED"),
  };
}

async function findLost(sql: Sql, accepted: readonly Accepted[]): Promise<readonly Finding[]> {
  const rows = await sql<{ id: string; key: string }>(
    (db) => db`
      SELECT execution_id::text AS id, dedup_key AS key
      FROM noetl.execution WHERE dedup_key IS NOT NULL`,
  );
  const idsByKey = Map.groupBy(rows, ({ key }) => key);
  return accepted.flatMap(({ executionId, dedupKey, workload }) => {
    const ids = (idsByKey.get(dedupKey) ?? []).map(({ id }) => id);
    const text = `${dedupKey} was accepted as ${executionId}, the database has ${ids.join(" and ") || "none"}`;
    const isFine = ids.length === 1 && ids[0] === executionId;
    return isFine ? [] : [{ kind: "lost", workload, text } as const];
  });
}

async function findDoubled(sql: Sql): Promise<readonly Finding[]> {
  const rows = await sql<Row>(
    (db) => db`
      WITH doubled AS (
        -- One end, and one more for each time that somebody made it go on.
        SELECT execution_id, format('%s terminal events', count(*)) AS what
        FROM noetl.event
        WHERE type IN ('playbook.completed', 'playbook.failed', 'playbook.cancelled', 'playbook.resumed')
        GROUP BY execution_id
        HAVING count(*) FILTER (WHERE type <> 'playbook.resumed')
          > count(*) FILTER (WHERE type = 'playbook.resumed') + 1
        UNION ALL
        SELECT execution_id, format('step %s, index %s ended %s times', step, payload->>'index', count(*))
        FROM noetl.event
        WHERE type IN ('call.done', 'call.error') AND payload->>'puller' IS NULL
        GROUP BY execution_id, step, payload->>'visit', payload->>'index' HAVING count(*) > 1
        UNION ALL
        SELECT execution_id, format('command %s gave %s frames', payload->>'commandId', count(*))
        FROM noetl.event WHERE type = 'loop.frame'
        GROUP BY execution_id, payload->>'commandId' HAVING count(*) > 1
        UNION ALL
        SELECT execution_id, format('two children for step %s, index %s', step, payload->>'index')
        FROM noetl.event
        WHERE type = 'child.started'
        GROUP BY execution_id, step, payload->>'visit', payload->>'index' HAVING count(*) > 1
      )
      SELECT path, format('%s: %s', execution_id, what) AS what
      FROM doubled JOIN noetl.execution USING (execution_id)
      UNION ALL
      SELECT min(path), format('dedup key %s has %s executions', dedup_key, count(*))
      FROM noetl.execution WHERE dedup_key IS NOT NULL
      GROUP BY dedup_key HAVING count(*) > 1`,
  );
  return toFindings("doubled", rows);
}

async function findGaps(sql: Sql): Promise<readonly Finding[]> {
  const rows = await sql<Row>(
    (db) => db`
      SELECT e.path, format('%s: %s events up to %s, the row says %s',
                            e.execution_id, count(v.seq), max(v.seq), e.seq) AS what
      FROM noetl.execution e LEFT JOIN noetl.event v USING (execution_id)
      GROUP BY e.execution_id, e.path, e.seq
      HAVING count(v.seq) <> e.seq OR max(v.seq) <> e.seq
      UNION ALL
      SELECT e.path, format('%s: the row says %s, the last event is %s', e.execution_id, e.status, v.type)
      FROM noetl.execution e JOIN noetl.event v ON v.execution_id = e.execution_id AND v.seq = e.seq
      WHERE e.status NOT IN ('pending', 'running') AND v.type <> 'playbook.' || e.status`,
  );
  return toFindings("wrong", rows);
}

interface Facts {
  readonly accepted: readonly Accepted[];
  readonly executions: ReadonlyMap<string, Execution>;
}

async function checkWorkload(
  world: World,
  workload: Workload,
  { accepted, executions }: Facts,
): Promise<readonly Finding[]> {
  const own = accepted.filter((one) => one.workload === workload.name);
  const findings: Finding[] = [];
  for (const execution of executions.values()) {
    if (workloadOf(execution.path) === workload.name) {
      findings.push(...checkEnd(workload, execution));
    }
  }
  for (const one of own) {
    const problems = await verifyOne(world, workload, one, executions.get(one.executionId));
    findings.push(...toWrong(workload, problems));
  }
  const problems = await Promise.try(async () => await workload.check?.(world, own)).catch(
    (error: unknown) => [`its check failed: ${errorMessage(error)}`],
  );
  return [...findings, ...toWrong(workload, problems ?? [])];
}

function toWrong({ name }: Workload, problems: readonly string[]): readonly Finding[] {
  return problems.map((text) => ({ kind: "wrong", workload: name, text }));
}

function checkEnd(
  { name, ends }: Workload,
  { id, path, status, error }: Execution,
): readonly Finding[] {
  if (ends.some((end) => end === status)) {
    return [];
  }
  const isExhausted = Object(error).kind === "worker_lost";
  const text = `${path} ${id} is ${status}: ${JSON.stringify(error)}`;
  return [{ kind: isExhausted ? "exhausted" : "wrong", workload: name, text }];
}

/** Of one that has ended as it may. */
async function verifyOne(
  world: World,
  { verify, ends }: Workload,
  accepted: Accepted,
  execution: Execution | undefined,
): Promise<Problems> {
  const status = ends.find((end) => end === execution?.status);
  if (verify === undefined || status === undefined) {
    return [];
  }
  const label = `${accepted.dedupKey}, ${accepted.executionId}`;
  try {
    const steps = await world.client.steps(accepted.executionId);
    const results = Object.fromEntries(steps.map(({ step, result }) => [step, result]));
    const problems = await verify({ world, accepted, status, results });
    return problems.map((text) => `${label}: ${text}`);
  } catch (error) {
    return [`${label} cannot be verified: ${errorMessage(error)}`];
  }
}
