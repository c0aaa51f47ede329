/** Polls messages and answers for them, in the words of subscriptions, by the nats tool. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Tool, ToolCall, ToolContext, ToolOutcome } from "./tool.ts";

/** What the nats tool does for each operation, and the answer that it gives. */
const OPERATIONS: Readonly<Record<string, JsonObject>> = {
  poll: { operation: "js_consume" },
  ack: { operation: "js_ack", ack: "ack" },
  nack: { operation: "js_ack", ack: "nak" },
  nak: { operation: "js_ack", ack: "nak" },
  term: { operation: "js_ack", ack: "term" },
};

export function createSubscriptionTool(nats: Tool): Tool {
  return {
    kind: "subscription",
    summary: "`operation` poll, ack, nack or term on a stream; `source` nats",
    check: (config) => {
      const source = config["source"] ?? "nats";
      if (source !== "nats") {
        return [`\`source\` ${JSON.stringify(source)} is not supported, only nats`];
      }
      const problem = operationProblem(config);
      return problem === undefined ? nats.check(natsConfig(config)) : [problem];
    },
    run: async (call, context) => await runOperation(nats, call, context),
  };
}

function operationOf(config: JsonObject): string {
  return String(config["operation"] ?? "poll");
}

function operationProblem(config: JsonObject): string | undefined {
  const known = Object.keys(OPERATIONS);
  return known.includes(operationOf(config))
    ? undefined
    : `\`operation\` must be one of ${known.join(", ")}`;
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
