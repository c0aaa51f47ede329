/** Parsed playbooks by catalog id, and what names stand for. Versions never change, so no expiry. */
import type { CatalogId } from "../core/ids.ts";
import type { Playbook } from "../dsl/playbook.ts";
import type { CatalogKey, PlaybookName } from "../store/catalog.ts";
import { findPlaybooks, loadPlaybooks } from "../store/catalog.ts";
import type { Pool } from "../store/pool.ts";
import { createCoalescer } from "./coalescer.ts";

const PLAYBOOKS_MAX = 500;
const LOOKUPS_MAX = 500;

export interface PlaybookCache {
  /** Undefined when there is no such version. Asks the database: another server may have added one. */
  find(name: PlaybookName): Promise<CatalogKey | undefined>;
  /** Undefined when there is no such version. */
  load(id: CatalogId): Promise<Playbook | undefined>;
}

export function createPlaybookCache(pool: Pool): PlaybookCache {
  const cached = new Map<CatalogId, Playbook>();
  const find = createCoalescer<PlaybookName, CatalogKey | undefined>(
    (names) => findPlaybooks(pool, names),
    { max: LOOKUPS_MAX, concurrency: 1 },
  );
  const fetch = createCoalescer<CatalogId, Playbook | undefined>(
    async (ids) => {
      const loaded = await loadPlaybooks(pool, [...new Set(ids)]);
      return ids.map((id) => loaded.get(id));
    },
    { max: LOOKUPS_MAX, concurrency: 2 },
  );
  const keep = (id: CatalogId, playbook: Playbook): void => {
    cached.delete(id);
    cached.set(id, playbook);
    for (const oldest of cached.keys()) {
      if (cached.size <= PLAYBOOKS_MAX) {
        break;
      }
      cached.delete(oldest);
    }
  };
  return {
    find,
    load: async (id) => {
      const playbook = cached.get(id) ?? (await fetch(id));
      if (playbook !== undefined) {
        keep(id, playbook);
      }
      return playbook;
    },
  };
}
