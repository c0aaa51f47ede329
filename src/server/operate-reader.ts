/** Reads for who looks after a platform. */
import { createHash } from "node:crypto";
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import type { Playbook } from "../dsl/playbook.ts";
import type { RecordedEvent } from "../engine/event.ts";
import type { ExecutionState } from "../engine/state.ts";
import { applyEvent, createState, snapshot } from "../engine/state.ts";
import { stepViews, variables } from "../engine/view.ts";
import { archivePlaybooks, countCatalogEntries, loadPlaybooks } from "../store/catalog.ts";
import { countEvents, listEvents } from "../store/event.ts";
import { countListed, getExecution, listUnfinished } from "../store/execution.ts";
import type { Sql } from "../store/pool.ts";
import { listTables } from "../store/server-state.ts";
import type { Moment, PastState, PlatformReader } from "./backend.ts";
import { toStep } from "./step-row.ts";

const EVENT_PAGE = 1000;

export function createPlatformReader(sql: Sql): PlatformReader {
  return {
    countCatalog: async ({ isLatestOnly = false, ...filter }) =>
      await countCatalogEntries(sql, { ...filter, isLatestOnly }),
    archivePlaybooks: async (key, isArchived) => await archivePlaybooks(sql, key, isArchived),
    countExecutions: async (filter, max) => await countListed(sql, filter, max),
    listUnfinished: async (query) => await listUnfinished(sql, query),
    countEvents: async (id, { types, afterSeq }) =>
      await countEvents(sql, id, types === undefined ? { afterSeq } : { afterSeq, types }),
    listTables: async () => await listTables(sql),
    stateAt: async (id, moment) => await stateAt(sql, id, moment),
  };
}

/** The fold over the log up to the moment, as the engine makes it. */
async function stateAt(sql: Sql, id: ExecutionId, moment: Moment): Promise<PastState | undefined> {
  const row = await getExecution(sql, id);
  const playbook = await findPlaybook(sql, row?.catalogId ?? null);
  if (playbook === undefined) {
    return undefined;
  }
  const state = createState(playbook);
  const timeMs = await replay(sql, id, { state, moment });
  return timeMs === undefined ? undefined : viewState(state, timeMs);
}

async function findPlaybook(sql: Sql, id: CatalogId | null): Promise<Playbook | undefined> {
  return id === null ? undefined : (await loadPlaybooks(sql, [id])).get(id);
}

/** Gives the time of the last event that was applied; undefined if none was. */
async function replay(
  sql: Sql,
  id: ExecutionId,
  { state, moment }: { readonly state: ExecutionState; readonly moment: Moment },
): Promise<number | undefined> {
  let timeMs: number | undefined;
  for (;;) {
    const page = await listEvents(sql, id, { afterSeq: state.seq, limit: EVENT_PAGE });
    for (const recorded of page) {
      if (!isBefore(recorded, moment)) {
        return timeMs;
      }
      applyEvent(state, recorded);
      timeMs = recorded.timeMs;
    }
    if (page.length < EVENT_PAGE) {
      return timeMs;
    }
  }
}

function isBefore({ seq, timeMs }: RecordedEvent, moment: Moment): boolean {
  return (
    seq <= (moment.seq ?? Number.POSITIVE_INFINITY) &&
    timeMs <= (moment.timeMs ?? Number.POSITIVE_INFINITY)
  );
}

function viewState(state: ExecutionState, timeMs: number): PastState {
  const checksum = createHash("sha256")
    .update(JSON.stringify(snapshot(state)))
    .digest("hex");
  return {
    seq: state.seq,
    timeMs,
    status: state.status,
    steps: stepViews(state).map(toStep),
    variables: variables(state),
    checksum,
  };
}
