/** One connection to NATS that never gives up, and what it says about itself. */
import type { ConnectionOptions, NatsConnection } from "nats";
import { connect, Events } from "nats";
import { retry } from "../core/backoff.ts";
import { errorMessage } from "../core/errors.ts";
import type { Logger } from "../observability/log.ts";
import { busUnavailable } from "./bus-error.ts";

export interface BusConnectionOptions {
  /** One or more `nats://host:port`, comma-separated. Credentials in it are honoured. */
  readonly url: string;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly token?: string | undefined;
  /** Shown by NATS' own monitoring. */
  readonly name: string;
  readonly log: Logger;
  /** Gives up waiting for the first connection. */
  readonly signal?: AbortSignal | undefined;
}

export interface ConnectionListener {
  readonly onDisconnect: () => void;
  readonly onReconnect: () => void;
}

const FIRST_CONNECT_BACKOFF = { minMs: 100, maxMs: 3000 };
const CONNECT_TIMEOUT_MS = 3000;
/** Short: while NATS is away every step waits for the relay. */
const RECONNECT_WAIT_MS = 100;
const RECONNECT_JITTER_MS = 100;
/** A silent peer is given up after two of these. */
const PING_INTERVAL_MS = 5000;

/** Connects, however long that takes; each failed try is logged. */
export async function connectNats(options: BusConnectionOptions): Promise<NatsConnection> {
  const signal = options.signal ?? new AbortController().signal;
  try {
    return await retry(() => connect(connectionOptions(options)), {
      ...FIRST_CONNECT_BACKOFF,
      signal,
      isRetryable: () => true,
      onRetry: (error, attempt, delayMs) =>
        options.log.warn("NATS cannot be reached yet", {
          url: withoutCredentials(options.url),
          attempt,
          delay_ms: Math.round(delayMs),
          error: errorMessage(error),
        }),
    });
  } catch (cause) {
    throw busUnavailable(`Cannot connect to NATS at ${withoutCredentials(options.url)}`, cause);
  }
}

export function connectionOptions(
  options: Omit<BusConnectionOptions, "log" | "signal">,
): ConnectionOptions {
  const urls = options.url.split(",").map((text) => text.trim());
  const first = parseUrl(urls[0] ?? "");
  const user = options.user ?? first?.username;
  const password = options.password ?? first?.password;
  return {
    servers: urls.map((url) => parseUrl(url)?.host ?? url),
    name: options.name,
    timeout: CONNECT_TIMEOUT_MS,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_WAIT_MS,
    reconnectJitter: RECONNECT_JITTER_MS,
    pingInterval: PING_INTERVAL_MS,
    ignoreAuthErrorAbort: true,
    noAsyncTraces: true,
    ...(urls.some((url) => url.startsWith("tls://")) ? { tls: {} } : {}),
    ...(options.token === undefined ? {} : { token: options.token }),
    ...(user ? { user, pass: password ?? "" } : {}),
  };
}

function parseUrl(text: string): { host: string; username: string; password: string } | undefined {
  const url = URL.parse(text);
  return url === null || url.host === ""
    ? undefined
    : {
        host: url.host,
        username: decodeURIComponent(url.username),
        password: decodeURIComponent(url.password),
      };
}

function withoutCredentials(url: string): string {
  return url.replaceAll(/\/\/[^@/,]*@/g, "//");
}

/** Reports what happens to the connection until it is closed. */
export async function watchConnection(
  connection: NatsConnection,
  listener: ConnectionListener,
  log: Logger,
): Promise<void> {
  for await (const status of connection.status()) {
    if (status.type === Events.Disconnect) {
      log.warn("Connection to NATS lost");
      listener.onDisconnect();
    } else if (status.type === Events.Reconnect) {
      log.info("Connection to NATS restored");
      listener.onReconnect();
    }
  }
}
