/** Fields of the tools that work with NATS. */
import type { ToolFields } from "../../dsl/tool-description.ts";

/** Of connections; under other names too, as a credential has them. */
export const CONNECTION_FIELDS: ToolFields = {
  url: { type: ["text", "list"], about: "nats://host:4222, several with commas or as a list" },
  server: { sameAs: "url" },
  servers: { sameAs: "url" },
  connection: { type: "map", about: "the fields of a credential in one map" },
  user: { type: "scalar", about: "login; better in a credential" },
  username: { sameAs: "user" },
  password: { type: "scalar", about: "its password" },
  token: { type: "scalar", about: "login by token" },
  creds: { type: "text", about: "content of a credentials file" },
  tls_ca: { type: "text", about: "PEM of the authority that signed the server's certificate" },
  credential: { type: ["text", "list", "map"], about: "older name of `auth`" },
};

export const STREAM_FIELDS: ToolFields = {
  stream: { type: "scalar", about: "name of the stream" },
  subject: { type: "scalar", about: "subject; for consumers a filter" },
  consumer: { type: "scalar", about: "durable consumer, made if there is none" },
  durable: { sameAs: "consumer" },
  batch: { type: "number", about: "messages at most", default: 10 },
  timeout_ms: { type: "number", about: "wait for a first message, milliseconds", default: 5000 },
  deliver: { type: "text", about: "where a new consumer begins: all, new, last", default: "all" },
  seq: { type: "number", about: "position in the stream" },
  ack: {
    type: "text",
    about: "js_consume: auto, none, explicit; js_ack: ack, nak, term, progress",
    default: "auto",
  },
  ack_id: { type: ["text", "list"], about: "which messages, as consumed with ack: explicit" },
  ack_ids: { sameAs: "ack_id" },
  ack_wait: { type: "duration", about: "of a new consumer: until redelivery", default: "30s" },
  nack_delay_ms: { type: "number", about: "of nak: until redelivery, milliseconds" },
  delay: { type: "duration", about: "the same as a duration" },
  max_deliver: { type: "number", about: "of a new consumer: deliveries at most" },
  encoding: { type: "text", about: "json, text or base64", default: "whichever fits" },
};
