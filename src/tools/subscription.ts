/** Polls messages and answers for them, in the words of subscriptions, by the nats tool. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import { checkNats } from "./nats/check.ts";
import { CONNECTION_FIELDS, STREAM_FIELDS } from "./nats/fields.ts";
import type { Tool, ToolCall, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

/** What the nats tool does for each operation, and the answer that it gives. */
const OPERATIONS: Readonly<Record<string, JsonObject>> = {
  poll: { operation: "js_consume" },
  ack: { operation: "js_ack", ack: "ack" },
  nack: { operation: "js_ack", ack: "nak" },
  nak: { operation: "js_ack", ack: "nak" },
  term: { operation: "js_ack", ack: "term" },
};

const DESCRIPTION: ToolDescription = {
  kind: "subscription",
  summary: "`operation` poll, ack, nack or term on a stream; `source` nats",
  runsOn: "worker",
  fields: {
    operation: {
      type: "text",
      about: "what to do",
      choices: Object.keys(OPERATIONS),
      default: "poll",
    },
    source: {
      type: "text",
      about: "what is polled; only nats",
      choices: ["nats"],
      default: "nats",
    },
    ...CONNECTION_FIELDS,
    ...STREAM_FIELDS,
  },
  result: {
    status: "success",
    source: "nats",
    operation: "what was done",
    count: "how many messages",
    messages: "of poll: {seq, subject, data, headers, deliveries, time, ack_id}",
    ack_ids: "of poll with ack: explicit: what ack, nack and term take",
    metrics: "of poll: {received, acked}",
  },
  failures: {
    connection: "no connection, or no JetStream",
    not_found: "no such stream or consumer",
    client_error: "what NATS refuses",
  },
  example: "kind: subscription\nauth: bus\nstream: ORDERS\nconsumer: billing\nbatch: 50\n",
  check: (config) => checkNats(natsConfig(config)),
};

export const subscriptionModule: ToolModule = {
  descriptions: [DESCRIPTION],
  create: ({ tool }) => [createSubscriptionTool(() => tool("nats"))],
};

/** @param nats the tool that does it, asked for when a task runs. */
export function createSubscriptionTool(nats: () => Tool): Tool {
  return {
    description: DESCRIPTION,
    run: async (call, context) => await runOperation(nats(), call, context),
  };
}

function operationOf(config: JsonObject): string {
  return String(config["operation"] || "poll");
}

function natsConfig(config: JsonObject): JsonObject {
  return { ...config, ...OPERATIONS[operationOf(config)] };
}

async function runOperation(
  nats: Tool,
  call: ToolCall,
  context: ToolContext,
): Promise<ToolOutcome> {
  const outcome = await nats.run({ ...call, config: natsConfig(call.config) }, context);
  const { value } = outcome;
  return outcome.ok && isJsonObject(value)
    ? { ok: true, value: present(operationOf(call.config), value) }
    : outcome;
}

function present(operation: string, value: JsonObject): Json {
  const about = { status: "success", source: "nats", operation, count: value["count"] ?? 0 };
  if (operation !== "poll") {
    return about;
  }
  const { stream, consumer, messages = [], acked = 0, ack = "auto", ack_ids = [] } = value;
  const metrics = { received: about.count, acked };
  return {
    ...about,
    stream: stream ?? null,
    consumer: consumer ?? null,
    messages,
    acked,
    ack_mode: ack,
    ack_ids,
    metrics,
  };
}
