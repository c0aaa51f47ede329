/**
 * Which subscriptions this server works on. The sweep lists all that some server must; the ones that
 * nobody holds are taken by whoever is first, under a lease that is renewed as long as the server
 * lives. Two servers that both think they hold one (the first was frozen) do no harm: keys and dedup
 * keys are in the database.
 */
import { sleep } from "../core/clock.ts";
import { errorMessage } from "../core/errors.ts";
import type { Service } from "../core/service.ts";
import {
  leaveSubscription,
  releaseSubscription,
  renewSubscriptions,
  takeSubscription,
} from "../store/subscription.ts";
import { removeExpiredKeys, removeOldDispatches } from "../store/subscription-dispatch.ts";
import type { HeldSubscription } from "../store/sweep.ts";
import type { TriggerOptions } from "./options.ts";
import { SubscriptionRunner } from "./subscription-runner.ts";

const LEASE_MS = 10_000;
const RENEWALS_PER_LEASE = 3;
/** Renewals between two rounds of housekeeping. */
const HOUSEKEEPING_EVERY = 20;
/** How long it is known what became of messages. */
const KEEP_MS = 3 * 24 * 60 * 60_000;

export class SubscriptionHolder {
  readonly service: Service = { name: "subscriptions", run: (signal) => this.#run(signal) };
  readonly #options: TriggerOptions;
  readonly #leaseMs: number;
  readonly #runners = new Map<string, SubscriptionRunner>();
  /** Rounds come one after the other. */
  #round: Promise<void> | undefined;
  #spoolChars = 0;

  constructor(options: TriggerOptions) {
    this.#options = options;
    this.#leaseMs = options.leaseMs ?? LEASE_MS;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const stop = this.#options.orchestrator.onOverdue(({ subscriptions }) => {
      this.#round ??= this.#sort(subscriptions).finally(() => {
        this.#round = undefined;
      });
    });
    let hasMore = false;
    for (let count = 1; !signal.aborted; count++) {
      await sleep(this.#leaseMs / RENEWALS_PER_LEASE, signal);
      await this.#renew();
      if (hasMore || count % HOUSEKEEPING_EVERY === 0) {
        hasMore = await this.#keepHouse();
      }
    }
    stop();
    await this.#round;
    await Promise.all([...this.#runners.keys()].map((id) => this.#giveUp(id)));
  }

  async #sort(listed: readonly HeldSubscription[]): Promise<void> {
    const { serverId, log } = this.#options;
    const byId = new Map(listed.map((one) => [one.subscriptionId, one]));
    try {
      for (const [id, runner] of this.#runners) {
        await this.#review(runner, byId.get(id));
      }
      for (const { subscriptionId, holder } of listed) {
        const isFree = holder === undefined || holder === serverId;
        if (isFree && !this.#runners.has(subscriptionId)) {
          await this.#take(subscriptionId);
        }
      }
    } catch (error) {
      log.warn("subscriptions not sorted", { error: errorMessage(error) });
    }
  }

  /** Ends a runner that has lost its subscription, or whose row has changed, or that is done. */
  async #review(runner: SubscriptionRunner, listed: HeldSubscription | undefined): Promise<void> {
    const { serverId, store } = this.#options;
    const { subscriptionId, revision } = runner.row;
    const isOurs = listed !== undefined && (listed.holder ?? serverId) === serverId;
    if (!isOurs || listed.revision !== revision) {
      this.#runners.delete(subscriptionId);
      await runner.stop();
    } else if (runner.isIdle) {
      await leaveSubscription(store.durable, runner.row, serverId);
    }
  }

  async #take(subscriptionId: string): Promise<void> {
    const { store, serverId, log } = this.#options;
    const row = await takeSubscription(store.durable, subscriptionId, {
      holder: serverId,
      leaseMs: this.#leaseMs,
    });
    if (row !== undefined) {
      log.info("subscription held", { subscription: row.path, state: row.state });
      const runner = new SubscriptionRunner(
        { ...this.#options, onSpool: (change) => this.#noteSpool(change) },
        row,
      );
      this.#runners.set(subscriptionId, runner);
      runner.start();
    }
  }

  #noteSpool(change: number): void {
    this.#spoolChars += change;
    this.#options.metrics.subscriptionSpoolBytes.set(this.#spoolChars, "nats");
  }

  async #renew(): Promise<void> {
    const { store, serverId, log } = this.#options;
    const ids = [...this.#runners.keys()];
    if (ids.length === 0) {
      return;
    }
    try {
      const lease = { holder: serverId, leaseMs: this.#leaseMs };
      const kept = await renewSubscriptions(store.quick, ids, lease);
      for (const id of ids.filter((each) => !kept.has(each))) {
        const runner = this.#runners.get(id);
        this.#runners.delete(id);
        await runner?.stop();
      }
    } catch (error) {
      log.warn("subscriptions not renewed", { error: errorMessage(error) });
    }
  }

  /** Of all subscriptions, hooks among them, which nobody holds. True: there is more to do. */
  async #keepHouse(): Promise<boolean> {
    const { store, log } = this.#options;
    try {
      const old = { keepMs: KEEP_MS, nowMs: Date.now() };
      const rounds = [
        await removeOldDispatches(store.quick, old),
        await removeExpiredKeys(store.quick),
      ];
      return rounds.some(Boolean);
    } catch (error) {
      log.warn("old messages not forgotten", { error: errorMessage(error) });
      return false;
    }
  }

  async #giveUp(subscriptionId: string): Promise<void> {
    const { store, serverId, log } = this.#options;
    try {
      await this.#runners.get(subscriptionId)?.stop();
      await releaseSubscription(store.durable, subscriptionId, serverId);
    } catch (error) {
      log.warn("subscription not given up", { subscriptionId, error: errorMessage(error) });
    }
  }
}
