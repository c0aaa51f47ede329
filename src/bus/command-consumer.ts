/** The pulling consumer as workers use it: its messages are notifications of commands. */
import type { Msg } from "nats";
import type { CommandNotification } from "../engine/command.ts";
import { decodeNotification } from "./notification.ts";
import type { Answers, Consumer } from "./pull-consumer.ts";

export interface CommandMessage extends Answers {
  readonly notification: CommandNotification;
}

export type CommandConsumer = Consumer;

/** Undefined for a message that is no notification. */
export function readCommand(message: Msg, answers: Answers): CommandMessage | undefined {
  const notification = decodeNotification(message.string());
  return notification && { notification, ...answers };
}
