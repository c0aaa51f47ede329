/** What people do with subscriptions: define, start and stop them, look after dead letters. */
import { AppError } from "../core/errors.ts";
import type { CatalogId } from "../core/ids.ts";
import type { Subscription } from "../dsl/subscription.ts";
import type { SubscriptionRow, SubscriptionState } from "../store/subscription.ts";
import {
  changeState,
  findSubscription,
  listSubscriptions,
  removeSubscription,
  saveSubscription,
  wakeSubscription,
} from "../store/subscription.ts";
import type { DispatchRow } from "../store/subscription-dispatch.ts";
import {
  isHookTaken,
  listDispatches,
  removeDeadLetters,
  replayDispatches,
} from "../store/subscription-dispatch.ts";
import type { TriggerOptions } from "./options.ts";

export type SubscriptionAction = keyof typeof ACTIONS;

/** What each action makes of which states. The same state again is no error. */
const ACTIONS = {
  activate: {
    to: "active",
    from: ["registered", "inactive", "paused", "draining"],
    event: "activated",
  },
  pause: { to: "paused", from: ["active"], event: "paused" },
  resume: { to: "active", from: ["paused"], event: "resumed" },
  drain: { to: "draining", from: ["active", "paused"], event: "draining" },
  deactivate: {
    to: "inactive",
    from: ["registered", "active", "paused", "draining"],
    event: "deactivated",
  },
} as const satisfies Record<
  string,
  {
    readonly to: SubscriptionState;
    readonly from: readonly SubscriptionState[];
    readonly event: string;
  }
>;

export const SUBSCRIPTION_ACTIONS = Object.keys(ACTIONS) as readonly SubscriptionAction[];

export interface SubscriptionBook {
  /** Adds the subscription of a document, or changes the one of that path. */
  apply(spec: Subscription, catalogId: CatalogId): Promise<SubscriptionRow>;
  list(page: Page): Promise<readonly SubscriptionRow[]>;
  /** By id or path. @throws AppError not_found SUBSCRIPTION_NOT_FOUND */
  get(key: string): Promise<SubscriptionRow>;
  remove(key: string): Promise<void>;
  /** @throws AppError conflict SUBSCRIPTION_STATE */
  act(key: string, action: SubscriptionAction): Promise<SubscriptionRow>;
  dispatches(
    key: string,
    page: Page & { readonly status: DispatchRow["status"] | undefined },
  ): Promise<readonly DispatchRow[]>;
  /** One dead letter, or all of them. @returns how many. */
  replay(key: string, dispatchId: string | undefined): Promise<number>;
  discard(key: string, dispatchId: string | undefined): Promise<number>;
}

interface Page {
  readonly limit: number;
  readonly offset: number;
}

export function createSubscriptionBook({
  store,
  orchestrator,
}: Pick<TriggerOptions, "store" | "orchestrator">): SubscriptionBook {
  const sql = store.durable;
  const get = async (key: string): Promise<SubscriptionRow> => {
    const row = await findSubscription(sql, key);
    if (row === undefined) {
      throw new AppError("not_found", "SUBSCRIPTION_NOT_FOUND", `There is no subscription ${key}`);
    }
    return row;
  };
  return {
    apply: async (spec, catalogId) => {
      const subscriptionId = await orchestrator.newId();
      try {
        return await saveSubscription(sql, { subscriptionId, catalogId, spec });
      } catch (error) {
        throw isHookTaken(error) ? hookTaken(spec, error) : error;
      }
    },
    list: async (page) => await listSubscriptions(sql, page),
    get,
    remove: async (key) => {
      await removeSubscription(sql, (await get(key)).subscriptionId);
    },
    act: async (key, action) => {
      const row = await get(key);
      const { to, from, event } = ACTIONS[action];
      const eventType = `subscription.${event}`;
      const changed = await changeState(sql, row.subscriptionId, { from, to, eventType });
      const now = changed ?? (await get(key));
      if (now.state !== to) {
        const message = `Cannot ${action} subscription ${row.path}: it is ${now.state}`;
        throw new AppError("conflict", "SUBSCRIPTION_STATE", message);
      }
      if (to === "draining") {
        // A hook has no holder that would end it.
        await wakeSubscription(sql, row.subscriptionId);
      }
      return now;
    },
    dispatches: async (key, page) =>
      await listDispatches(sql, (await get(key)).subscriptionId, page),
    replay: async (key, dispatchId) => {
      const { subscriptionId } = await get(key);
      const count = await replayDispatches(sql, subscriptionId, dispatchId);
      await wakeSubscription(sql, subscriptionId);
      return count;
    },
    discard: async (key, dispatchId) =>
      await removeDeadLetters(sql, (await get(key)).subscriptionId, dispatchId),
  };
}

function hookTaken({ source }: Subscription, cause: unknown): AppError {
  const path = source.kind === "webhook" ? source.path : "";
  const message = `Another subscription has the hook ${path} already`;
  return new AppError("conflict", "HOOK_TAKEN", message, { cause });
}
