/** What starts executions besides people: schedules, hooks, subscriptions. Puts the parts together. */
import type { Service } from "../core/service.ts";
import type { RegisterRequest } from "../orchestrator/register-playbook.ts";
import type { RegisteredDocument } from "./documents.ts";
import { registerDocument } from "./documents.ts";
import type { TriggerOptions } from "./options.ts";
import type { ScheduleBook } from "./schedule-book.ts";
import { createScheduleBook } from "./schedule-book.ts";
import { Scheduler } from "./scheduler.ts";
import type { SubscriptionBook } from "./subscription-book.ts";
import { createSubscriptionBook } from "./subscription-book.ts";
import { SubscriptionHolder } from "./subscription-holder.ts";
import type { HookAnswer, HookRequest } from "./webhook.ts";
import { receiveHook } from "./webhook.ts";

export interface Triggers {
  readonly schedules: ScheduleBook;
  readonly subscriptions: SubscriptionBook;
  receiveHook(request: HookRequest): Promise<HookAnswer>;
  /** A document of any kind. */
  register(request: RegisterRequest): Promise<RegisteredDocument>;
  /** To be run on top of the orchestrator's. */
  services(): readonly Service[];
}

export function createTriggers(options: TriggerOptions): Triggers {
  const schedules = createScheduleBook(options);
  const subscriptions = createSubscriptionBook(options);
  const scheduler = new Scheduler(options);
  const holder = new SubscriptionHolder(options);
  return {
    schedules,
    subscriptions,
    receiveHook: async (request) => await receiveHook(options, request),
    register: async (request) =>
      await registerDocument({ ...options, schedules, subscriptions }, request),
    services: () => [scheduler.service, holder.service],
  };
}
