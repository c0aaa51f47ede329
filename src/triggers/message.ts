/** One message as templates, payloads and dead letters see it, whatever its source. */
import type { IncomingMessage } from "../bus/message.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { parseJson } from "../core/json.ts";

export interface Message extends JsonObject {
  /** The source's own id: stream and sequence, or one made on arrival. */
  readonly id: string;
  readonly source: "nats" | "webhook";
  /** NATS subject, or path of the hook. */
  readonly subject: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON if the bytes are; otherwise text; otherwise base64, and `encoding` says so. */
  readonly data: Json;
  readonly encoding: "json" | "text" | "base64";
  /** When it was stored or came, ISO. */
  readonly time: string;
  /** Of a hook. */
  readonly query: Readonly<Record<string, string>>;
}

/** @param newId for plain messages, which have no id of their own. */
export function fromNats(message: IncomingMessage, nowMs: number, newId: () => string): Message {
  const { origin, subject, headers, data } = message;
  return {
    id: origin === undefined ? newId() : `${origin.stream}:${origin.sequence}:${origin.timeMs}`,
    source: "nats",
    subject,
    headers,
    ...decodeData(data),
    time: new Date(origin?.timeMs ?? nowMs).toISOString(),
    query: {},
  };
}

export function decodeData(data: Uint8Array): Pick<Message, "data" | "encoding"> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch {
    return { data: Buffer.from(data).toString("base64"), encoding: "base64" };
  }
  try {
    return { data: parseJson(text), encoding: "json" };
  } catch {
    return { data: text, encoding: "text" };
  }
}
