/** What is wrong with the fields of an operation. */
import type { Json, JsonObject } from "../../core/json.ts";
import { ACK_ANSWERS, ACK_MODES, ackIdsOf } from "./consume.ts";
import { objectName } from "./object-store.ts";

export const OPERATION_NAMES = [
  "kv_get",
  "kv_put",
  "kv_delete",
  "kv_purge",
  "kv_keys",
  "object_get",
  "object_put",
  "object_delete",
  "object_list",
  "object_info",
  "js_publish",
  "js_consume",
  "js_ack",
  "js_get_msg",
  "js_stream_info",
] as const;

export type OperationName = (typeof OPERATION_NAMES)[number];

/** Fields without which an operation makes no sense; an object's name has several spellings. */
const NEEDS: Readonly<Partial<Record<OperationName, readonly string[]>>> = {
  kv_get: ["bucket", "key"],
  kv_put: ["bucket", "key"],
  kv_delete: ["bucket", "key"],
  kv_purge: ["bucket", "key"],
  kv_keys: ["bucket"],
  object_list: ["bucket"],
  js_publish: ["subject"],
  js_consume: ["stream"],
  js_get_msg: ["stream"],
  js_stream_info: ["stream"],
};

export function operationOf(config: JsonObject): OperationName | undefined {
  return OPERATION_NAMES.find((name) => name === config["operation"]);
}

export function checkNats(config: JsonObject): readonly string[] {
  const operation = operationOf(config);
  if (operation === undefined) {
    return [];
  }
  const lacks = (NEEDS[operation] ?? []).filter((name) => isEmpty(config[name]));
  return [
    ...lacks.map((name) => `${operation} needs \`${name}\``),
    ...(operation.startsWith("object_") ? checkObject(operation, config) : []),
    ...checkAck(operation, config),
  ];
}

function checkObject(operation: string, config: JsonObject): readonly string[] {
  const lacksBucket = operation !== "object_list" && isEmpty(config["bucket"]);
  const lacksName = operation !== "object_list" && objectName(config) === "";
  return [
    ...(lacksBucket ? [`${operation} needs \`bucket\``] : []),
    ...(lacksName ? [`${operation} needs \`object\` (or \`name\`)`] : []),
  ];
}

function checkAck(operation: string, config: JsonObject): readonly string[] {
  const { ack } = config;
  const hasIds = ackIdsOf(config).length > 0 || Array.isArray(config["ack_ids"]);
  if (operation === "js_ack" && !hasIds) {
    return ["js_ack needs `ack_ids`"];
  }
  const known: readonly string[] = operation === "js_ack" ? ACK_ANSWERS : ACK_MODES;
  const isUsed = operation === "js_ack" || operation === "js_consume";
  return isUsed && !isEmpty(ack) && !known.includes(String(ack))
    ? [`\`ack\` of ${operation} must be one of ${known.join(", ")}`]
    : [];
}

function isEmpty(value: Json | undefined): boolean {
  return value === undefined || value === null || value === "";
}
