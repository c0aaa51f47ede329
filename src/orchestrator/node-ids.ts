/**
 * Ids under a leased node number. The lease is renewed long before it ends; a server that was
 * stopped for longer makes no id until it has a number of its own again.
 */
import { sleep } from "../core/clock.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { NewId } from "../core/ids.ts";
import { createIdGenerator } from "../core/ids.ts";
import type { Service } from "../core/service.ts";
import type { Logger } from "../observability/log.ts";
import { renewNode, takeNode } from "../store/node.ts";
import type { Pool } from "../store/pool.ts";

const LEASE_MS = 60_000;
const RENEW_INTERVAL_MS = 15_000;
const RETRY_INTERVAL_MS = 1000;
/** A number rests so long between two holders, because their clocks may differ. */
const REST_MS = 60_000;
const TRIES = 10;

export interface NodeIds {
  /** @throws AppError unavailable NODE_LEASE_LOST: call {@link NodeIds.acquire} first. */
  readonly newId: NewId;
  /** Resolves once ids can be made; at once while the lease holds. */
  acquire(): Promise<void>;
  readonly service: Service;
}

export function createNodeIds({
  pool,
  holder,
  log,
}: {
  readonly pool: Pool;
  readonly holder: string;
  readonly log: Logger;
}): NodeIds {
  let validUntilMs = 0;
  let node: number | undefined;
  let generate: NewId | undefined;
  let acquiring: Promise<void> | undefined;

  /** The generator's clock, so that no id is ever made with a lapsed number. */
  const guardedNow = (): number => {
    const nowMs = Date.now();
    if (nowMs >= validUntilMs) {
      throw new AppError("unavailable", "NODE_LEASE_LOST", "The node number for ids has lapsed");
    }
    return nowMs;
  };
  const take = async (): Promise<void> => {
    for (let attempt = 1; attempt <= TRIES; attempt++) {
      const sentMs = Date.now();
      const taken = await takeNode(pool, { holder, leaseMs: LEASE_MS, restMs: REST_MS });
      if (taken !== undefined) {
        node = taken;
        validUntilMs = sentMs + LEASE_MS;
        generate = createIdGenerator(taken, guardedNow);
        return;
      }
    }
    throw new AppError("unavailable", "NODES_TAKEN", "No node number for ids is free");
  };
  const renew = async (): Promise<void> => {
    const sentMs = Date.now();
    if (node !== undefined && (await renewNode(pool, { node, holder, leaseMs: LEASE_MS }))) {
      validUntilMs = sentMs + LEASE_MS;
      return;
    }
    await take();
  };
  const acquire = async (): Promise<void> => {
    if (Date.now() >= validUntilMs) {
      acquiring ??= take().finally(() => {
        acquiring = undefined;
      });
      await acquiring;
    }
  };
  const run = async (signal: AbortSignal): Promise<void> => {
    let delayMs = 0;
    while (!signal.aborted) {
      await sleep(delayMs, signal);
      try {
        await (validUntilMs === 0 ? acquire() : renew());
        delayMs = RENEW_INTERVAL_MS;
      } catch (error) {
        log.warn("node lease not renewed", { error: errorMessage(error) });
        delayMs = RETRY_INTERVAL_MS;
      }
    }
  };
  return {
    newId: (() => {
      if (generate === undefined) {
        throw new AppError("unavailable", "NODE_LEASE_LOST", "No node number for ids yet");
      }
      return generate();
    }) as NewId,
    acquire,
    service: { name: "node-lease", run },
  };
}
