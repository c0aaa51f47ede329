/**
 * From the source to the table: filters what came, commits the rest with its keys, and only then
 * acknowledges it.
 */
import type { IncomingMessage } from "../bus/message.ts";
import { retry } from "../core/backoff.ts";
import { AppError, errorMessage } from "../core/errors.ts";
import type { Subscription } from "../dsl/subscription.ts";
import { isDatabaseDown } from "../store/sqlstate.ts";
import type { SubscriptionRow } from "../store/subscription.ts";
import type { Accepted, TakenMessage } from "../store/subscription-dispatch.ts";
import { acceptMessages } from "../store/subscription-dispatch.ts";
import { TemplateError } from "../template/error.ts";
import { dedupKey, isWanted, laneOf, usedControls } from "./dispatch-plan.ts";
import type { Message } from "./message.ts";
import { fromNats } from "./message.ts";
import type { TriggerOptions } from "./options.ts";

/** How long a message is known by its id: longer than any source takes to deliver it again. */
const IDENTITY_MS = 7 * 24 * 60 * 60_000;
/** Characters of one batch, as JSON. */
const BATCH_CHARS_MAX = 8 * 1024 * 1024;
const BACKOFF = { minMs: 50, maxMs: 1000 };
/** How soon what could not be committed comes again. */
const AGAIN_MS = 1000;

const NOTHING: Accepted = { dispatches: [], deadLetterCount: 0, duplicateCount: 0 };

export interface TakeInOptions extends TriggerOptions {
  /** How long a database that is away is waited for. */
  readonly patience: AbortSignal;
  /** The answer to a commit got lost: the table may have dispatches that nobody is told of. */
  readonly onDoubt: () => void;
}

/**
 * Acknowledges what is durable or not wanted, and gives the rest back.
 *
 * @returns what is to be dispatched; the database has it.
 */
export async function takeIn(
  options: TakeInOptions,
  { subscriptionId, spec }: SubscriptionRow,
  incoming: readonly IncomingMessage[],
): Promise<Accepted> {
  const { store, orchestrator, metrics, patience, onDoubt } = options;
  metrics.subscriptionReceived.add(incoming.length, "nats");
  const ids = await Promise.all(incoming.map(() => orchestrator.newId()));
  const judged = incoming.map((one, index) => {
    const message = fromNats(one, Date.now(), () => ids[index] ?? "");
    return { one, message, taken: judge(spec, message) };
  });
  const wanted = judged.flatMap(({ taken }) => taken ?? []);
  try {
    const accepted =
      wanted.length === 0
        ? NOTHING
        : await retry(
            () =>
              acceptMessages(store.durable, wanted, {
                subscriptionId,
                windowMs: spec.dedup?.windowMs ?? 0,
                identityMs: IDENTITY_MS,
                group: (messages) => inBatches(messages, spec),
                ids,
              }),
            { ...BACKOFF, signal: patience, isRetryable: isPassing, onRetry: onDoubt },
          );
    for (const { one } of judged) {
      one.ack();
    }
    count(options, spec, judged, accepted);
    return accepted;
  } catch (error) {
    onDoubt();
    for (const { one } of judged) {
      one.nak(AGAIN_MS);
    }
    throw error;
  }
}

/** Undefined: not wanted. */
function judge(spec: Subscription, message: Message): TakenMessage | undefined {
  const taken = { identity: message.id, lane: "", key: undefined, text: JSON.stringify(message) };
  try {
    return isWanted(spec, message)
      ? {
          ...taken,
          lane: laneOf(spec, message),
          key: dedupKey(spec, message)?.replaceAll("\0", ""),
          problem: undefined,
        }
      : undefined;
  } catch (error) {
    if (error instanceof TemplateError) {
      return { ...taken, problem: errorMessage(error).replaceAll("\0", "") };
    }
    throw error;
  }
}

function isPassing(error: unknown): boolean {
  return isDatabaseDown(error) || (error instanceof AppError && error.isRetryable);
}

/** Groups of the same lane, no larger than allowed. */
export function inBatches(
  messages: readonly TakenMessage[],
  { dispatch }: Pick<Subscription, "dispatch">,
): readonly (readonly TakenMessage[])[] {
  if (!dispatch.isBatch) {
    return messages.map((message) => [message]);
  }
  const groups: TakenMessage[][] = [];
  for (const lane of Map.groupBy(messages, (message) => message.lane).values()) {
    let group: TakenMessage[] = [];
    let chars = 0;
    for (const message of lane) {
      chars += message.text.length;
      if (group.length > 0 && (group.length === dispatch.batchMax || chars > BATCH_CHARS_MAX)) {
        groups.push(group);
        group = [];
        chars = message.text.length;
      }
      group.push(message);
    }
    groups.push(group);
  }
  return groups;
}

function count(
  { metrics }: TriggerOptions,
  spec: Subscription,
  judged: readonly { readonly message: Message; readonly taken: TakenMessage | undefined }[],
  accepted: Accepted,
): void {
  const source = spec.source.kind;
  for (const controls of judged.flatMap(({ message }) => usedControls(spec, message))) {
    metrics.subscriptionDirectives.inc(controls);
  }
  const filteredCount = judged.filter(({ taken }) => taken === undefined).length;
  metrics.subscriptionExecutions.add(filteredCount, source, "filtered");
  metrics.subscriptionExecutions.add(accepted.duplicateCount, source, "duplicate");
  metrics.subscriptionDeadLettered.add(accepted.deadLetterCount, source);
  for (const { messageCount } of accepted.dispatches) {
    metrics.subscriptionSpooled.add(messageCount, source);
    if (spec.dispatch.isBatch) {
      metrics.subscriptionBatches.inc(source);
      metrics.subscriptionBatchMessages.add(messageCount, source);
    }
  }
}
