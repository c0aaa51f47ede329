/**
 * States of executions, bounded by memory, least recently used first out. An entry is the fold of
 * committed events, except while a batch that decides on it is under way; if that batch fails, the
 * entry is dropped and read anew.
 */
import type { ExecutionId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import type { Playbook } from "../dsl/playbook.ts";
import type { ExecutionState } from "../engine/state.ts";
import { applyEvent, createState } from "../engine/state.ts";
import { readEvents } from "../store/event.ts";
import type { ExecutionHead } from "../store/execution.ts";
import { readHeads } from "../store/execution.ts";
import type { Pool } from "../store/pool.ts";
import type { LOOK_ALIKE, ResultRef, UnreadableRef } from "../template/scope.ts";
import type { PlaybookCache } from "./playbook-cache.ts";

export interface CacheEntry {
  readonly head: ExecutionHead;
  /** Undefined: a pending child, or one whose playbook does not exist. */
  readonly state: ExecutionState | undefined;
  /** Rough size in memory. */
  bytes: number;
  /** Results that decisions had to look into, by `$ref`. */
  readonly resolved: Map<string, Json | UnreadableRef | typeof LOOK_ALIKE>;
  /** Bytes of their JSON texts; part of `bytes` once they are kept. */
  resolvedBytes: number;
  /** Parts of the state that commands get by reference; see src/engine/offload.ts. */
  readonly stored: Map<string, ResultRef>;
  /** True right after a read: nothing can be more recent than this. */
  isFresh: boolean;
}

/** Of a state without events. */
const ENTRY_BYTES = 4096;
/** A state takes about so many bytes per byte of its events' JSON text. */
const BYTES_PER_CHAR = 2;
/** Events read in one statement, per execution. */
const PAGE = 2000;

export interface StateCache {
  /** The entry if it is in memory. Counts as a use. */
  peek(id: ExecutionId): CacheEntry | undefined;
  put(entry: CacheEntry): void;
  drop(id: ExecutionId): void;
  /** Reads executions that are not in memory; without those that do not exist. */
  load(ids: readonly ExecutionId[]): Promise<ReadonlyMap<ExecutionId, CacheEntry>>;
  /** Applies what other servers have added to entries that no batch is deciding on. */
  catchUp(entries: readonly CacheEntry[]): Promise<void>;
}

export function createStateCache({
  pool,
  playbooks,
  maxBytes,
}: {
  readonly pool: Pool;
  readonly playbooks: PlaybookCache;
  readonly maxBytes: number;
}): StateCache {
  /** With the size that `totalBytes` knows of. */
  const entries = new Map<ExecutionId, { readonly entry: CacheEntry; readonly bytes: number }>();
  let totalBytes = 0;

  const drop = (id: ExecutionId): void => {
    totalBytes -= entries.get(id)?.bytes ?? 0;
    entries.delete(id);
  };
  const put = (entry: CacheEntry): void => {
    drop(entry.head.executionId);
    entries.set(entry.head.executionId, { entry, bytes: entry.bytes });
    totalBytes += entry.bytes;
    for (const oldest of entries.keys()) {
      if (totalBytes <= maxBytes || entries.size === 1) {
        break;
      }
      drop(oldest);
    }
  };
  const load = async (
    ids: readonly ExecutionId[],
  ): Promise<ReadonlyMap<ExecutionId, CacheEntry>> => {
    const heads = await readHeads(pool, ids);
    const loaded = await Promise.all(heads.map((head) => createEntry(head, playbooks)));
    await replay(pool, loaded);
    return new Map(loaded.map((entry) => [entry.head.executionId, entry]));
  };
  return {
    peek: (id) => {
      const entry = entries.get(id)?.entry;
      if (entry !== undefined) {
        put(entry);
      }
      return entry;
    },
    put,
    drop,
    load,
    catchUp: (behind) => replay(pool, behind),
  };
}

/** An entry without events. */
export function newEntry(head: ExecutionHead, playbook: Playbook | undefined): CacheEntry {
  return {
    head,
    state: playbook === undefined ? undefined : createState(playbook),
    bytes: ENTRY_BYTES,
    resolved: new Map(),
    stored: new Map(),
    resolvedBytes: 0,
    isFresh: true,
  };
}

/** Accounts for events whose JSON texts have so many characters. */
export function grow(entry: CacheEntry, chars: number): void {
  entry.bytes += chars * BYTES_PER_CHAR;
}

async function createEntry(head: ExecutionHead, playbooks: PlaybookCache): Promise<CacheEntry> {
  const playbook = head.catalogId === null ? undefined : await playbooks.load(head.catalogId);
  return newEntry(head, playbook);
}

/** Applies all events after each state's position. */
async function replay(pool: Pool, behind: readonly CacheEntry[]): Promise<void> {
  let open = new Map(
    behind.flatMap((entry) =>
      entry.state === undefined ? [] : [[entry.head.executionId, entry] as const],
    ),
  );
  while (open.size > 0) {
    const wanted = [...open].map(([executionId, entry]) => ({
      executionId,
      afterSeq: entry.state?.seq ?? 0,
    }));
    const counts = new Map<ExecutionId, number>();
    for (const { executionId, size, ...recorded } of await readEvents(pool, wanted, PAGE)) {
      const entry = open.get(executionId);
      // Two reads of one entry may overlap: what the other has applied is skipped.
      if (entry?.state !== undefined && recorded.seq === entry.state.seq + 1) {
        applyEvent(entry.state, recorded);
        grow(entry, size);
      }
      counts.set(executionId, (counts.get(executionId) ?? 0) + 1);
    }
    open = new Map([...open].filter(([executionId]) => counts.get(executionId) === PAGE));
  }
  for (const entry of behind) {
    entry.isFresh = true;
  }
}
