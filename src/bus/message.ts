/** Messages of any subject, as subscriptions get them. */
import type { Msg, MsgHdrs } from "nats";
import { headers } from "nats";
import type { Answers } from "./pull-consumer.ts";

export interface IncomingMessage extends Answers {
  readonly subject: string;
  /** Lower-case names. Of several values the first. */
  readonly headers: Readonly<Record<string, string>>;
  readonly data: Uint8Array;
  /** Where JetStream keeps it; undefined for a plain message. */
  readonly origin: MessageOrigin | undefined;
}

export interface MessageOrigin {
  readonly stream: string;
  readonly sequence: number;
  /** From 1. */
  readonly deliveryCount: number;
  /** When it was stored. */
  readonly timeMs: number;
}

/** Never undefined: what the data means is for the subscription to say. */
export function readMessage(message: Msg, answers: Answers): IncomingMessage {
  return {
    subject: message.subject,
    headers: readHeaders(message.headers),
    data: message.data,
    origin: readOrigin(message.reply),
    ...answers,
  };
}

export function writeHeaders(values: Readonly<Record<string, string>>): MsgHdrs {
  const written = headers();
  for (const [name, value] of Object.entries(values)) {
    written.set(name, value);
  }
  return written;
}

function readHeaders(given: MsgHdrs | undefined): Readonly<Record<string, string>> {
  return Object.fromEntries(
    (given?.keys() ?? []).map((name) => [name.toLowerCase(), given?.get(name) ?? ""]),
  );
}

/**
 * The reply subject `$JS.ACK.[domain.account.]stream.consumer.deliveries.sequence.….nanoseconds.pending`.
 * See https://docs.nats.io/reference/reference-protocols/nats_api_reference.
 */
function readOrigin(reply: string | undefined): MessageOrigin | undefined {
  const parts = reply?.split(".") ?? [];
  if (parts[0] !== "$JS" || parts[1] !== "ACK" || parts.length < PARTS_WITHOUT_DOMAIN) {
    return undefined;
  }
  const first = parts.length === PARTS_WITHOUT_DOMAIN ? 2 : 4;
  const [stream = "", , deliveries, sequence, , nanoseconds] = parts.slice(first);
  return {
    stream,
    sequence: Number(sequence),
    deliveryCount: Number(deliveries),
    timeMs: Math.floor(Number(nanoseconds) / 1e6),
  };
}

const PARTS_WITHOUT_DOMAIN = 9;
