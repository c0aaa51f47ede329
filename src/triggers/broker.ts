/** The NATS server of a subscription: the platform's own, or one that a credential names. */
import type { MessageBroker } from "../bus/message-source.ts";
import { connectBroker } from "../bus/message-source.ts";
import { AppError } from "../core/errors.ts";
import type { NatsSource } from "../dsl/subscription-source.ts";
import type { TriggerOptions } from "./options.ts";

/**
 * Waits for the server as long as it takes, until `signal` aborts. To be disposed of by the caller,
 * unless it is the platform's own (`isShared`).
 */
export async function openBroker(
  options: TriggerOptions,
  source: NatsSource,
  signal: AbortSignal,
): Promise<{ readonly broker: MessageBroker; readonly isShared: boolean }> {
  if (source.credential === undefined) {
    return { broker: options.bus, isShared: true };
  }
  const { data } = await options.orchestrator.openCredential(source.credential);
  const text = (...names: readonly string[]): string | undefined => {
    const value = names.map((name) => data[name]).find((each) => typeof each === "string");
    return typeof value === "string" ? value : undefined;
  };
  const url = text("nats_url", "url");
  if (url === undefined) {
    const message = `Credential ${source.credential} has no nats_url`;
    throw new AppError("invalid", "CREDENTIAL_INVALID", message);
  }
  const broker = await connectBroker({
    url,
    user: text("nats_user", "user", "username"),
    password: text("nats_password", "password"),
    token: text("nats_token", "token"),
    name: `noetl subscription ${source.durable}`,
    log: options.log,
    signal,
  });
  return { broker, isShared: false };
}
