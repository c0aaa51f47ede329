import type { ToolDescription } from "../../dsl/tool-description.ts";
import { checkNats, OPERATION_NAMES } from "./check.ts";
import { CONNECTION_FIELDS, STREAM_FIELDS } from "./fields.ts";

export const NATS: ToolDescription = {
  kind: "nats",
  summary: "does an `operation` on NATS: kv_*, object_*, js_*",
  runsOn: "worker",
  needs: [{ oneOf: ["operation"], text: `an operation: ${OPERATION_NAMES.join(", ")}` }],
  fields: {
    operation: { type: "text", about: "what to do", choices: OPERATION_NAMES },
    ...CONNECTION_FIELDS,
    ...STREAM_FIELDS,
    bucket: { type: "scalar", about: "bucket of keys or objects" },
    key: { type: "scalar", about: "key; for objects the name" },
    object: { type: "scalar", about: "name of an object" },
    object_name: { sameAs: "object" },
    name: { sameAs: "object" },
    value: { type: "any", about: "what to put or publish: text as it is, other values as JSON" },
    data: { sameAs: "value" },
    payload: { sameAs: "value" },
    message: { sameAs: "value" },
    ttl: { type: "duration", about: "of a key, or of a new bucket" },
    create: { type: "boolean", about: "kv_put: only a new key; object_put: make the bucket" },
    revision: { type: "number", about: "kv_get: an older one; kv_put: only over this one" },
    pattern: { type: "text", about: "kv_keys: which keys, with * and >", default: ">" },
    history: { type: "number", about: "of a new bucket: revisions that are kept", default: 1 },
    description: { type: "text", about: "of an object" },
    headers: { type: "map", about: "of a published message" },
    last: { type: ["boolean", "text"], about: "js_get_msg: the newest, also of a subject" },
    message_id: { type: "scalar", about: "js_publish: the same id is stored once" },
    msg_id: { sameAs: "message_id" },
  },
  result: {
    status: "success, or not_found for keys, objects and messages that are not there",
    value: "kv_get: the value; data of objects and messages",
    messages: "js_consume: {seq, subject, data, headers, deliveries, time, ack_id}",
    "…": "what the operation gives: revision, keys, objects, seq, count, state, …",
  },
  failures: {
    connection: "no connection, or no JetStream",
    not_found: "no such bucket, stream or consumer",
    client_error: "what NATS refuses, such as a revision that is not the last",
    parse: "encoding: json, and it is none",
  },
  example:
    'kind: nats\nauth: bus\noperation: kv_put\nbucket: state\nkey: last_run\nvalue: { at: "{{ at }}" }\n',
  check: checkNats,
};
