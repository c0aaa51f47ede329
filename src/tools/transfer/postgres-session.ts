/** A transfer's own connection to PostgreSQL: cursor reads, COPY writes, cut when it ends. */
import type { Writable } from "node:stream";
import type postgres from "postgres";
import type { JsonObject } from "../../core/json.ts";
import { encodeCopy } from "../copy-text.ts";
import { findTarget } from "../postgres/connection.ts";
import { databaseFailure } from "../postgres/failure.ts";
import type { Client } from "../postgres/pool.ts";
import { createClient } from "../postgres/pool.ts";
import { TaskError, taskError, unlessStopped } from "../task-error.ts";
import type { ToolContext } from "../tool.ts";
import type { Side } from "./side.ts";
import { sideError } from "./side.ts";

/** Rows as the server sends them: each value's text, or null. */
export interface Answer {
  readonly rows: readonly (readonly (string | null)[])[];
  readonly columns: readonly { readonly name: string; readonly type: number }[];
  readonly count: number;
}

type RawRow = readonly (Uint8Array | null)[];
type RawResult = readonly RawRow[] & {
  readonly columns?: readonly postgres.Column<string>[];
  readonly count?: number | null;
};

const CLOSE_SECONDS = 1;

export class PostgresSession {
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #side: Side;
  #isBroken = false;

  private constructor(client: Client, side: Side, context: ToolContext) {
    this.#client = client;
    this.#side = side;
    this.#signal = context.signal;
    client.onNotice = (text) => context.log("stderr", `${side}: ${text}`);
  }

  /** @throws TaskError, CredentialError */
  static async open(
    side: Side,
    config: JsonObject,
    context: ToolContext,
  ): Promise<PostgresSession> {
    const target = await findTarget(config, context);
    if (target === undefined) {
      const message = `${side}: it says no database: it needs \`auth\`, \`connection\` or \`host\``;
      throw taskError("schema", "DATABASE_MISSING", message);
    }
    return new PostgresSession(createClient(target), side, context);
  }

  /** @throws TaskError */
  async run(text: string, parameters: readonly (string | null)[] = []): Promise<Answer> {
    const query = this.#client.sql.unsafe(text, [...parameters] as string[]).raw();
    const result = (await this.#watch(query, text)) as unknown as RawResult;
    return {
      rows: result.map((row) => row.map(decode)),
      columns: (result.columns ?? []).map(({ name, type }) => ({ name, type })),
      count: result.count ?? 0,
    };
  }

  /** The same statement for each row, sent without waiting for the one before. */
  async runEach(text: string, rows: readonly (readonly (string | null)[])[]): Promise<void> {
    const queries = rows.map((row) => this.#client.sql.unsafe(text, [...row] as string[]).raw());
    await this.#watch(Promise.all(queries), text);
  }

  /** @param text a `COPY … FROM STDIN`. @throws TaskError */
  async copy(text: string): Promise<Copy> {
    const query = this.#client.sql.unsafe(text);
    const stream = await this.#watch(query.writable(), text);
    return new Copy(query, stream, (promise) => this.#watch(promise, text));
  }

  /** Ends the connection; a transaction that is open is undone. Never throws. */
  async close(): Promise<void> {
    const timeout = this.#isBroken || this.#signal.aborted ? 0 : CLOSE_SECONDS;
    await this.#client.sql.end({ timeout }).catch(() => undefined);
  }

  /** Waits; on a stop the server is told to cancel. */
  async #watch<T>(promise: Promise<T>, text: string): Promise<T> {
    const cancel = (): void => {
      if ("cancel" in promise && typeof promise.cancel === "function") {
        promise.cancel();
      }
    };
    this.#signal.addEventListener("abort", cancel, { once: true });
    try {
      return await unlessStopped(promise, this.#signal);
    } catch (error) {
      this.#isBroken = true;
      if (error instanceof TaskError) {
        throw error;
      }
      throw sideError(this.#side, databaseFailure(error, text));
    } finally {
      this.#signal.removeEventListener("abort", cancel);
    }
  }
}

/** A `COPY … FROM STDIN` under way. */
export class Copy {
  readonly #stream: Writable;
  readonly #failed = Promise.withResolvers<never>();
  readonly #watch: <T>(promise: Promise<T>) => Promise<T>;

  /**
   * @param query has given its stream already; postgres.js tells it, and not the stream's `end`, of
   * a failure that comes after the last byte.
   */
  constructor(query: unknown, stream: Writable, watch: <T>(promise: Promise<T>) => Promise<T>) {
    this.#stream = stream;
    this.#watch = watch;
    Object.assign(query as object, { reject: this.#failed.reject });
    stream.on("error", this.#failed.reject);
    this.#failed.promise.catch(() => undefined);
  }

  /** Resolves when it can take more. */
  async write(rows: readonly (readonly (string | null)[])[]): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (!this.#stream.write(encodeCopy(rows))) {
      this.#stream.once("drain", resolve);
      await this.#watch(Promise.race([promise, this.#failed.promise]));
    }
  }

  async finish(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#stream.end(resolve);
    await this.#watch(Promise.race([promise, this.#failed.promise]));
  }
}

function decode(value: Uint8Array | null): string | null {
  return value === null
    ? null
    : Buffer.from(value.buffer, value.byteOffset, value.length).toString("utf8");
}
