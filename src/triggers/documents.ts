/**
 * Registration of all kinds of documents. Playbooks go to the orchestrator; a schedule or subscription
 * is kept in the catalog like them, and the version that was registered last is the one that counts.
 */
import { createHash } from "node:crypto";
import type { CatalogId } from "../core/ids.ts";
import type { Diagnostic } from "../dsl/diagnostic.ts";
import { otherKind } from "../dsl/document.ts";
import { parseSchedule } from "../dsl/schedule.ts";
import { parseSubscription } from "../dsl/subscription.ts";
import type { RegisterRequest } from "../orchestrator/register-playbook.ts";
import type { NewDocument } from "../store/catalog.ts";
import { saveDocument } from "../store/catalog.ts";
import { acceptDocument } from "./document-error.ts";
import type { TriggerOptions } from "./options.ts";
import type { ScheduleBook } from "./schedule-book.ts";
import type { SubscriptionBook } from "./subscription-book.ts";
import { checkCron } from "./timing.ts";

export interface RegisteredDocument {
  readonly kind: NewDocument["kind"];
  readonly catalogId: CatalogId;
  readonly path: string;
  readonly version: number;
  readonly warnings: readonly Diagnostic[];
}

export interface DocumentsOptions extends Pick<TriggerOptions, "store" | "orchestrator"> {
  readonly schedules: ScheduleBook;
  readonly subscriptions: SubscriptionBook;
}

/**
 * Stores the document as the next version of its path, and puts it to work.
 *
 * @throws AppError invalid PLAYBOOK_INVALID, SCHEDULE_INVALID, SUBSCRIPTION_INVALID with all of
 *   `details.diagnostics`; conflict CATALOG_KIND_CONFLICT, HOOK_TAKEN.
 */
export async function registerDocument(
  options: DocumentsOptions,
  request: RegisterRequest,
): Promise<RegisteredDocument> {
  switch (otherKind(request.content)) {
    case "Schedule":
      return await registerSchedule(options, request);
    case "Subscription":
      return await registerSubscription(options, request);
    case undefined:
      return { kind: "playbook", ...(await options.orchestrator.registerPlaybook(request)) };
  }
}

async function registerSchedule(
  options: DocumentsOptions,
  request: RegisterRequest,
): Promise<RegisteredDocument> {
  const parsed = parseSchedule(request.content, { checkCron });
  const { document, warnings } = acceptDocument("schedule", parsed, request);
  const saved = await save(options, request, "schedule", document);
  await options.schedules.apply(document, saved.catalogId);
  return { ...saved, warnings };
}

async function registerSubscription(
  options: DocumentsOptions,
  request: RegisterRequest,
): Promise<RegisteredDocument> {
  const parsed = parseSubscription(request.content);
  const { document, warnings } = acceptDocument("subscription", parsed, request);
  const saved = await save(options, request, "subscription", document);
  await options.subscriptions.apply(document, saved.catalogId);
  return { ...saved, warnings };
}

async function save(
  { store, orchestrator }: DocumentsOptions,
  { content }: RegisterRequest,
  kind: NewDocument["kind"],
  document: NewDocument["document"],
): Promise<Omit<RegisteredDocument, "warnings">> {
  const contentHash = createHash("sha256").update(content).digest("hex");
  const catalogId = (await orchestrator.newId()) as CatalogId;
  const key = await saveDocument(store.durable, {
    catalogId,
    content,
    contentHash,
    kind,
    document,
  });
  return { kind, ...key };
}
