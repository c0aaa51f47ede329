/**
 * Connections to the databases that tasks use, a few per database.
 *
 * Each client is one connection and serves one task at a time, so that a task may open a
 * transaction and a cancelled one can be cut off. Idle connections are closed after a while; of too
 * many databases the one that was not used for longest is forgotten.
 */
import postgres from "postgres";
import type { Target } from "./connection.ts";
import { ARRAY_OIDS, encodeJson, encodePlain, JSON_OIDS } from "./values.ts";

const CLIENTS_PER_TARGET_MAX = 8;
const TARGETS_MAX = 32;
const IDLE_SECONDS = 30;
const CONNECT_SECONDS = 10;

export interface Client {
  readonly sql: postgres.Sql;
  /** True once its connection was lost; whatever a task had begun there is undone. */
  isLost: boolean;
  /** Takes what the server says beside results, for example `RAISE NOTICE`. */
  onNotice: (text: string) => void;
}

interface Pool {
  readonly target: Target;
  readonly idle: Client[];
  readonly waiters: ((client: Client) => void)[];
  count: number;
}

export class ClientPools {
  /** Least recently used first. */
  readonly #pools = new Map<string, Pool>();

  /** A client of one's own until it is given back. The connection is made by its first query. */
  take(target: Target): Promise<Client> {
    const pool = this.#pool(target);
    const client = pool.idle.pop();
    if (client !== undefined) {
      return Promise.resolve(client);
    }
    if (pool.count < CLIENTS_PER_TARGET_MAX) {
      pool.count++;
      return Promise.resolve(createClient(target));
    }
    const { promise, resolve } = Promise.withResolvers<Client>();
    pool.waiters.push(resolve);
    return promise;
  }

  release(target: Target, client: Client): void {
    const pool = this.#pool(target);
    client.onNotice = ignore;
    client.isLost = false;
    const waiter = pool.waiters.shift();
    if (waiter === undefined) {
      pool.idle.push(client);
    } else {
      waiter(client);
    }
  }

  /** Cuts a client's connection instead of giving it back. */
  destroy(target: Target, client: Client): void {
    const pool = this.#pool(target);
    void client.sql.end({ timeout: 0 });
    const waiter = pool.waiters.shift();
    if (waiter === undefined) {
      pool.count--;
    } else {
      waiter(createClient(target));
    }
  }

  async close(): Promise<void> {
    const clients = [...this.#pools.values()].flatMap((pool) => pool.idle);
    this.#pools.clear();
    await Promise.all(clients.map((client) => client.sql.end({ timeout: 1 })));
  }

  #pool(target: Target): Pool {
    const key = JSON.stringify(target);
    const pool = this.#pools.get(key) ?? { target, idle: [], waiters: [], count: 0 };
    this.#pools.delete(key);
    this.#pools.set(key, pool);
    if (this.#pools.size > TARGETS_MAX) {
      this.#forgetOne();
    }
    return pool;
  }

  #forgetOne(): void {
    for (const [key, pool] of this.#pools) {
      if (pool.idle.length === pool.count && pool.count > 0) {
        this.#pools.delete(key);
        for (const client of pool.idle) {
          void client.sql.end({ timeout: 1 });
        }
        return;
      }
    }
  }
}

/** A client outside of the pools: the caller ends it. The connection is made by its first query. */
export function createClient(target: Target): Client {
  const client: { -readonly [Key in keyof Client]: Client[Key] } = {
    isLost: false,
    onNotice: ignore,
    sql: postgres(target.url ?? "", {
      ...(target.host === undefined ? {} : { host: target.host }),
      ...(target.port === undefined ? {} : { port: target.port }),
      ...(target.user === undefined ? {} : { username: target.user }),
      ...(target.password === undefined ? {} : { password: target.password }),
      ...(target.database === undefined ? {} : { database: target.database }),
      ...sslOption(target.ssl),
      max: 1,
      idle_timeout: IDLE_SECONDS,
      connect_timeout: CONNECT_SECONDS,
      max_lifetime: null,
      prepare: false,
      fetch_types: false,
      types: parameterTypes(),
      connection: {
        application_name: "noetl",
        DateStyle: "ISO",
        ...(target.searchPath === undefined ? {} : { search_path: target.searchPath }),
      },
      onnotice: (notice) => client.onNotice(`${notice["severity"]}: ${notice["message"]}`),
      onclose: () => {
        client.isLost = true;
      },
    }),
  };
  return client;
}

function sslOption(mode: string | undefined): {
  ssl?: "require" | "prefer" | "verify-full" | false;
} {
  switch (mode) {
    case undefined:
      return {};
    case "disable":
    case "false":
      return { ssl: false };
    case "verify-full":
      return { ssl: "verify-full" };
    case "prefer":
    case "allow":
      return { ssl: "prefer" };
    default:
      return { ssl: "require" };
  }
}

/** How parameters of each type are written. Results are decoded elsewhere, from raw rows. */
function parameterTypes(): Record<string, postgres.PostgresType> {
  const plain = [16, 17, 1082, 1114, 1184, ...ARRAY_OIDS];
  const entry = (oid: number, serialize: (value: unknown) => string): postgres.PostgresType => ({
    to: oid,
    from: [oid],
    serialize,
    parse: (text: unknown) => text,
  });
  return Object.fromEntries([
    ...plain.map((oid) => [`type${oid}`, entry(oid, encodePlain)]),
    ...JSON_OIDS.map((oid) => [`type${oid}`, entry(oid, encodeJson)]),
  ]);
}

function ignore(): void {
  // Nobody listens.
}
