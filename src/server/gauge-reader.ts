/** Reads what `/metrics` shows of the parts around a server. */
import { countOpen, countRateLimited } from "../store/gauges.ts";
import type { Pool } from "../store/pool.ts";
import { readConnectionUse } from "../store/server-state.ts";
import type { GaugeReader, PoolLag } from "./backend.ts";

export interface GaugeReaderOptions {
  readonly sql: Pool;
  /** Default: none is shown. */
  readonly bus?:
    | {
        readonly isConnected: boolean;
        lag(pool: string): Promise<PoolLag | undefined>;
      }
    | undefined;
}

export function createGaugeReader({ sql, bus }: GaugeReaderOptions): GaugeReader {
  return {
    countOpen: async () => await countOpen(sql),
    countRateLimited: async () => await countRateLimited(sql),
    connectionUse: async () => await readConnectionUse(sql),
    isBusConnected: () => bus?.isConnected ?? false,
    readLag: async (pool) => await bus?.lag(pool),
  };
}
