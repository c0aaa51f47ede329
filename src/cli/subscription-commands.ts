/** `subscription` and `webhook`: messages and calls that start playbooks. */
import type { JsonObject } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { JsonFlag } from "./catalog-commands.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { field, formatJson, formatTable, formatTime, rowsOf } from "./format.ts";

export async function getSubscription(
  { out }: CliContext,
  api: Api,
  key: string,
  flags: JsonFlag,
): Promise<ExitReason> {
  const row = await api.getObject(subscriptionUrl(key));
  const facts = Object.keys(row)
    .filter((name) => name !== "content")
    .map((name) => [name, field(row, name)])
    .filter(([, value]) => value !== "");
  out(flags.json === true ? formatJson(row) : formatTable(["field", "value"], facts));
  return "ok";
}

/** `activate`, `pause`, `resume`, `drain`, `deactivate`. */
export async function changeSubscription(
  { out }: CliContext,
  api: Api,
  { key, action }: { readonly key: string; readonly action: string },
  flags: JsonFlag,
): Promise<ExitReason> {
  const row = await api.postObject(`${subscriptionUrl(key)}/${action}`, {});
  out(
    flags.json === true
      ? formatJson(row)
      : `Subscription ${field(row, "path")}: ${field(row, "state")}`,
  );
  return "ok";
}

export async function deleteSubscription(
  { out }: CliContext,
  api: Api,
  key: string,
  flags: JsonFlag,
): Promise<ExitReason> {
  const answer = await api.delete(subscriptionUrl(key));
  out(flags.json === true ? formatJson(answer) : `Subscription ${key} deleted`);
  return "ok";
}

export interface DeadLetterFlags extends JsonFlag {
  readonly limit?: string | undefined;
  /** An id, or true for all. */
  readonly replay?: string | true | undefined;
  readonly delete?: string | undefined;
}

/** Lists dead letters, dispatches them again, or deletes one. */
export async function deadLetters(
  { out }: CliContext,
  api: Api,
  key: string,
  flags: DeadLetterFlags,
): Promise<ExitReason> {
  const base = `${subscriptionUrl(key)}/dead-letters`;
  if (flags.replay !== undefined) {
    const path = flags.replay === true ? "replay" : `${encodeURIComponent(flags.replay)}/replay`;
    const answer = await api.postObject(`${base}/${path}`, {});
    const text = `${field(answer, "replayed")} dead letters will be dispatched again`;
    out(flags.json === true ? formatJson(answer) : text);
    return "ok";
  }
  if (flags.delete !== undefined) {
    const answer = await api.delete(`${base}/${encodeURIComponent(flags.delete)}`);
    out(flags.json === true ? formatJson(answer) : `Dead letter ${flags.delete} deleted`);
    return "ok";
  }
  const rows = rowsOf(await api.get(`${base}?limit=${flags.limit ?? "20"}`), "dead_letters");
  const headings = ["dead letter", "at", "messages", "tries", "error"];
  const text =
    rows.length === 0 ? "No dead letters." : formatTable(headings, rows.map(deadLetterCells));
  out(flags.json === true ? formatJson(rows) : text);
  return "ok";
}

function deadLetterCells(row: JsonObject): readonly string[] {
  return [
    field(row, "dispatch_id"),
    formatTime(row["created_at"]),
    field(row, "message_count"),
    field(row, "attempts"),
    field(row, "error"),
  ];
}

export interface WebhookFlags extends JsonFlag {
  readonly playbook: string;
  readonly verify: string;
  readonly credential: string;
  readonly header?: string | undefined;
  readonly prefix?: string | undefined;
  readonly timestampHeader?: string | undefined;
  readonly filter?: string | undefined;
  readonly payloadFrom?: string | undefined;
  readonly dedupHeader?: string | undefined;
  readonly executionPool?: string | undefined;
}

/** Registers the document that the flags describe, under `webhooks/<path>`. */
export async function addWebhook(
  { out }: CliContext,
  api: Api,
  path: string,
  flags: WebhookFlags,
): Promise<ExitReason> {
  const answer = await api.postObject("/api/subscriptions", webhookDocument(path, flags));
  const text = `Hook ${api.url}${field(answer, "hook")} starts ${field(answer, "playbook")} (subscription ${field(answer, "path")})`;
  out(flags.json === true ? formatJson(answer) : text);
  return "ok";
}

function webhookDocument(path: string, flags: WebhookFlags): JsonObject {
  const { playbook, verify: type, credential, filter } = flags;
  const given = (values: Readonly<Record<string, string | undefined>>): JsonObject =>
    Object.fromEntries(
      Object.entries(values).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
    );
  const verify = {
    type,
    credential,
    ...given({
      header: flags.header,
      prefix: flags.prefix,
      timestamp_header: flags.timestampHeader,
    }),
  };
  return {
    metadata: { name: path, path: `webhooks/${path}` },
    spec: {
      source: "webhook",
      ingress: { gateway_path: path, verify },
      dispatch: {
        playbook,
        ...given({ payload_from: flags.payloadFrom, execution_pool: flags.executionPool }),
      },
      ...given({ filter }),
      ...(flags.dedupHeader === undefined ? {} : { dedup: { header: flags.dedupHeader } }),
    },
  };
}

function subscriptionUrl(key: string): string {
  return `/api/subscriptions/${encodeURIComponent(key)}`;
}
