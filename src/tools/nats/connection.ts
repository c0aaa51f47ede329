/**
 * Connections to the NATS servers that tasks use: one per server and login, shared by the tasks
 * that run at the same time, closed when unused for a while.
 *
 * A connection that is lost is not mended: the tasks on it fail as `connection`, the next task
 * makes a new one.
 */
import type { ConnectionOptions, NatsConnection } from "nats";
import { connect, credsAuthenticator } from "nats";
import { errorMessage } from "../../core/errors.ts";
import type { Layers } from "../layers.ts";
import { findText } from "../layers.ts";
import { taskError } from "../task-error.ts";

/** Plain data, so that its JSON text is the key of a connection. */
export interface NatsTarget {
  /** `host:port` of each server. */
  readonly servers: readonly string[];
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
  /** Text of a credentials file. */
  readonly creds?: string;
  readonly isTls: boolean;
  /** PEM text of the authority that signed the servers' certificates. */
  readonly ca?: string;
}

const IDLE_MS = 30_000;
const CONNECT_MS = 5000;
const PING_MS = 10_000;

const FIELDS = {
  url: ["url", "nats_url", "server", "servers"],
  user: ["user", "nats_user", "username"],
  password: ["password", "nats_password"],
  token: ["token", "nats_token"],
  creds: ["creds", "nats_creds", "credentials"],
  ca: ["tls_ca", "ca", "ca_cert"],
} as const;

/** @throws TaskError if no server is named. */
export function natsTarget(layers: Layers): NatsTarget {
  const url = findText(layers, FIELDS.url);
  if (url === undefined) {
    throw taskError(
      "schema",
      "NATS_URL_MISSING",
      "the task says no NATS server: it needs `auth` with a nats credential, or `url`",
    );
  }
  const urls = url.split(",").map((text) => text.trim());
  const first = URL.parse(urls[0] ?? "");
  const user = findText(layers, FIELDS.user) ?? decoded(first?.username);
  const password = findText(layers, FIELDS.password) ?? decoded(first?.password);
  const ca = findText(layers, FIELDS.ca);
  return {
    servers: urls.map((text) => URL.parse(text)?.host || text),
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
    ...optional("token", findText(layers, FIELDS.token)),
    ...optional("creds", findText(layers, FIELDS.creds)),
    ...optional("ca", ca),
    isTls: ca !== undefined || urls.some((text) => text.startsWith("tls://")),
  };
}

function decoded(text: string | undefined): string | undefined {
  return text ? decodeURIComponent(text) : undefined;
}

function optional<Name extends "token" | "creds" | "ca">(
  name: Name,
  value: string | undefined,
): Partial<Record<Name, string>> {
  return value === undefined ? {} : ({ [name]: value } as Partial<Record<Name, string>>);
}

interface Shared {
  readonly opened: Promise<NatsConnection>;
  userCount: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export class NatsConnections {
  readonly #shared = new Map<string, Shared>();

  /**
   * Lends a connection to `work`.
   *
   * @throws TaskError if the server cannot be reached or refuses the login; what `work` throws.
   */
  async use<T>(target: NatsTarget, work: (connection: NatsConnection) => Promise<T>): Promise<T> {
    const key = JSON.stringify(target);
    const shared = this.#shared.get(key) ?? this.#open(key, target);
    shared.userCount++;
    clearTimeout(shared.timer);
    try {
      return await work(await shared.opened);
    } finally {
      shared.userCount--;
      if (shared.userCount === 0) {
        shared.timer = setTimeout(() => this.#forget(key, shared), IDLE_MS);
        shared.timer.unref();
      }
    }
  }

  async close(): Promise<void> {
    const all = [...this.#shared.values()];
    this.#shared.clear();
    await Promise.all(all.map(closeShared));
  }

  #open(key: string, target: NatsTarget): Shared {
    const opened = openConnection(target);
    const shared: Shared = { opened, userCount: 0, timer: undefined };
    this.#shared.set(key, shared);
    const drop = (): void => {
      if (this.#shared.get(key) === shared) {
        this.#shared.delete(key);
      }
    };
    opened.then((connection) => connection.closed()).then(drop, drop);
    return shared;
  }

  #forget(key: string, shared: Shared): void {
    if (shared.userCount === 0 && this.#shared.get(key) === shared) {
      this.#shared.delete(key);
      void closeShared(shared);
    }
  }
}

async function closeShared(shared: Shared): Promise<void> {
  clearTimeout(shared.timer);
  try {
    await (await shared.opened).close();
  } catch {
    // It was never open.
  }
}

async function openConnection(target: NatsTarget): Promise<NatsConnection> {
  try {
    return await connect(connectionOptions(target));
  } catch (error) {
    throw openFailure(error, target);
  }
}

function connectionOptions(target: NatsTarget): ConnectionOptions {
  const { servers, user, password, token, creds, isTls, ca } = target;
  return {
    servers: [...servers],
    name: "noetl task",
    timeout: CONNECT_MS,
    reconnect: false,
    pingInterval: PING_MS,
    noAsyncTraces: true,
    ...(isTls ? { tls: ca === undefined ? {} : { ca } } : {}),
    ...(token === undefined ? {} : { token }),
    ...(user === undefined ? {} : { user, pass: password ?? "" }),
    ...(creds === undefined
      ? {}
      : { authenticator: credsAuthenticator(new TextEncoder().encode(creds)) }),
  };
}

function openFailure(error: unknown, { servers }: NatsTarget) {
  const text = errorMessage(error);
  const where = servers.join(", ");
  return /authoriz|authentic|bad_creds|creds/i.test(text)
    ? taskError("auth", "NATS_AUTH", `NATS at ${where} refuses the login: ${text}`)
    : taskError("connection", "NATS_UNREACHABLE", `cannot reach NATS at ${where}: ${text}`);
}
