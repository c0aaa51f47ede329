/**
 * How busy a pool of connections is. The client does not tell, so statements that are under way are counted: those
 * beyond the number of connections wait for one.
 */
import type { Pool } from "./pool.ts";

export interface PoolLoad {
  /** Connections at most. */
  readonly max: number;
  /** Statements and transactions that were sent or wait for a connection. */
  readonly underWay: number;
}

export interface CountedPool {
  readonly pool: Pool;
  readonly load: PoolLoad;
}

/** Statements inside a transaction count as that one. Costs about a microsecond for each. */
export function countStatements(pool: Pool, max: number): CountedPool {
  const load = { max, underWay: 0 };
  const counted = new Proxy(pool, {
    apply: (target, self, args) => {
      const query: unknown = Reflect.apply(target, self, args);
      return query instanceof Promise ? watch(query, load) : query;
    },
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key);
      return key === "begin" ? countCalls(target.begin.bind(target) as Begin, load) : value;
    },
  });
  return { pool: counted, load };
}

/** A query is sent when somebody awaits it, and never if it is only a part of another one. */
function watch<T>(query: Promise<T>, load: { underWay: number }): Promise<T> {
  const then = query.then.bind(query);
  let isSent = false;
  const end = (): void => {
    load.underWay--;
  };
  const watched: typeof query.then = (onValue, onError) => {
    if (!isSent) {
      isSent = true;
      load.underWay++;
      then(end, end);
    }
    return then(onValue, onError);
  };
  // biome-ignore lint/suspicious/noThenProperty: it is one already, whose method is followed.
  return Object.assign(query, { then: watched });
}

type Begin = (...args: unknown[]) => Promise<unknown>;

function countCalls(call: Begin, load: { underWay: number }): Begin {
  return async (...args: unknown[]): Promise<unknown> => {
    load.underWay++;
    try {
      return await call(...args);
    } finally {
      load.underWay--;
    }
  };
}
