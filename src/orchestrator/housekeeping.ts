/**
 * Removes what nobody needs any more, now and then, and again soon while there is more. It runs beside
 * the sweep, not in it: a store that answers slowly must not keep anybody from noticing what is
 * overdue. Each duty is idempotent, so that several servers may do it at once, and fails alone.
 */
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { Service } from "../core/service.ts";
import { removeExpiredDedup } from "../store/execution.ts";
import { removeExpiredKeychain } from "../store/keychain.ts";
import { removeIdleRates } from "../store/rate.ts";
import { removeSilentWorkers } from "../store/worker.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { Housekeeper } from "./retention.ts";

/** Workers silent for so long are forgotten. */
const SILENT_MS = 300_000;

export interface HousekeepingOptions extends Pick<OrchestratorOptions, "store" | "metrics"> {
  readonly log: Pick<OrchestratorOptions["log"], "warn">;
  /** Of stored values and finished executions. */
  readonly housekeeper: Pick<Housekeeper, "keep">;
  /** From the end of one round to the next. */
  readonly everyMs: number;
  /** The same while there is more to do. */
  readonly againMs: number;
}

/** A part of what can be removed. True: there is more to do at once. */
type Duty = () => Promise<boolean>;

export function createHousekeeping(options: HousekeepingOptions): Service {
  const duties = dutiesOf(options);
  return {
    name: "housekeeping",
    run: async (signal) => {
      while (!signal.aborted) {
        const hasMore = await round(duties, options.log, signal);
        await sleep(hasMore ? options.againMs : options.everyMs, signal);
      }
    },
  };
}

function dutiesOf({
  store,
  metrics,
  log,
  housekeeper,
}: HousekeepingOptions): Readonly<Record<string, Duty>> {
  return {
    workers: async () => {
      for (const { workerId, pool } of await removeSilentWorkers(store.quick, SILENT_MS)) {
        metrics.workersLost.inc(pool);
        log.warn("worker forgotten", { workerId, pool });
      }
      return false;
    },
    dedup: async () => await removeExpiredDedup(store.quick),
    rates: async () => await removeIdleRates(store.quick),
    keychain: async () => await removeExpiredKeychain(store.quick),
    retention: async () => await housekeeper.keep(),
  };
}

async function round(
  duties: Readonly<Record<string, Duty>>,
  log: HousekeepingOptions["log"],
  signal: AbortSignal,
): Promise<boolean> {
  let hasMore = false;
  for (const [duty, perform] of Object.entries(duties)) {
    if (signal.aborted) {
      break;
    }
    try {
      hasMore = (await perform()) || hasMore;
    } catch (error) {
      log.warn("housekeeping failed", { duty, error: errorMessage(error) });
    }
  }
  return hasMore;
}
