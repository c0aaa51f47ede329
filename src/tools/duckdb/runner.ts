/**
 * The process that runs DuckDB: `noetl __runner duckdb`.
 *
 * DuckDB is not run in the worker itself. A statement can be interrupted only between its batches of
 * rows: one call of a function on one large value goes on for minutes; `memory_limit` does not see
 * what such calls allocate; and an abort in native code would end the worker with all its tasks.
 * This process can be killed.
 *
 * It holds one database at a time, with a connection for each session.
 */
import { readdirSync, readlinkSync } from "node:fs";
import type { DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { unreachable } from "../../core/assert.ts";
import { decodeCopy } from "../copy-text.ts";
import { dieWithParent } from "../die-with-parent.ts";
import { createFrameReader, encodeFrame } from "../frame.ts";
import type { Wire } from "../wire.ts";
import { connectWire, ROLES } from "../wire.ts";
import { Cursor, Filler } from "./bulk.ts";
import type { DuckdbApi } from "./library.ts";
import { loadDuckdb } from "./library.ts";
import type { CloseAnswer, Envelope, Request, RunnerStart } from "./protocol.ts";
import { describeError, runStatements } from "./statement.ts";

type OpenRequest = Extract<Request, { readonly type: "open" }>;

const RELEASE_LOOKS = 3;

/** Serves sessions until the worker closes the connection; the options come in on stdin. */
export async function runDuckdbRunner(): Promise<void> {
  dieWithParent();
  const start = JSON.parse(await Bun.stdin.text()) as RunnerStart;
  process.chdir(start.cwd);
  const api = await loadDuckdb(start.library);
  const wire = await connectWire(start, start.id, ROLES.control);
  const runner = new Runner(api, wire);
  const closed = Promise.withResolvers<void>();
  wire.onClose = closed.resolve;
  wire.onData = createFrameReader((text) => runner.handle(JSON.parse(text) as Envelope));
  await closed.promise;
}

interface Session {
  readonly connection: DuckDBConnection;
  /** Its requests so far: they are served one after another. */
  turn: Promise<unknown>;
  cursor: Cursor | undefined;
  filler: Filler | undefined;
}

class Runner {
  readonly #api: DuckdbApi;
  readonly #wire: Wire;
  readonly #sessions = new Map<number, Session>();
  #instance: DuckDBInstance | undefined;
  /** Files that were open before the database was. */
  #files: ReadonlySet<string> = new Set();
  /** Opening and closing, one after another. */
  #lifecycle: Promise<unknown> = Promise.resolve();

  constructor(api: DuckdbApi, wire: Wire) {
    this.#api = api;
    this.#wire = wire;
  }

  handle(envelope: Envelope): void {
    if ("interrupt" in envelope) {
      this.#sessions.get(envelope.interrupt)?.connection.interrupt();
      return;
    }
    const { id, session, request } = envelope;
    this.#answer(session, request).then(
      (value) => this.#send(`{"id":${id},"value":${value}}`),
      (error: unknown) => this.#send(JSON.stringify({ id, error: describeError(error) })),
    );
  }

  #send(text: string): void {
    this.#wire.write(encodeFrame(text));
  }

  /** JSON text of the answer's value. */
  async #answer(number: number, request: Request): Promise<string> {
    switch (request.type) {
      case "open":
        return await this.#inTurn(() => this.#open(number, request));
      case "close":
        return await this.#inTurn(async () => JSON.stringify(await this.#close(number)));
      default: {
        const session = this.#session(number);
        const done = session.turn.then(() => this.#serve(session, request));
        session.turn = done.catch(() => undefined);
        return await done;
      }
    }
  }

  async #serve(
    session: Session,
    request: Exclude<Request, { readonly type: "open" | "close" }>,
  ): Promise<string> {
    switch (request.type) {
      case "run":
        return await runStatements(this.#api, session.connection, request);
      case "select": {
        const { cursor, columns } = await Cursor.open(this.#api, session.connection, request.sql);
        session.cursor = cursor;
        return JSON.stringify({ columns });
      }
      case "fetch":
        return JSON.stringify({ text: (await session.cursor?.fetch(request.rowCountMax)) ?? "" });
      case "append":
        session.filler ??= await Filler.open(session.connection, request.table);
        session.filler.append(decodeCopy(request.text));
        return "null";
      case "flush":
        session.filler?.flush();
        session.filler = undefined;
        return "null";
      default:
        return unreachable(request);
    }
  }

  async #inTurn(work: () => Promise<string>): Promise<string> {
    const done = this.#lifecycle.then(work);
    this.#lifecycle = done.catch(() => undefined);
    return await done;
  }

  #session(number: number): Session {
    const session = this.#sessions.get(number);
    if (session === undefined) {
      throw new Error(`there is no session ${number}`);
    }
    return session;
  }

  async #open(number: number, { path, settings }: OpenRequest): Promise<string> {
    if (this.#instance === undefined) {
      this.#files = openFiles();
      this.#instance = await this.#api.DuckDBInstance.create(path ?? ":memory:", { ...settings });
    }
    const connection = await this.#instance.connect();
    // The same on every worker, whatever the machine's zone.
    await connection.run("SET TimeZone = 'UTC'");
    const turn = Promise.resolve();
    this.#sessions.set(number, { connection, turn, cursor: undefined, filler: undefined });
    return "null";
  }

  /** Ends a session, and with the last one the database. */
  async #close(number: number): Promise<CloseAnswer> {
    await this.#end(this.#sessions.get(number));
    this.#sessions.delete(number);
    if (this.#sessions.size > 0) {
      return { isReleased: true };
    }
    this.#instance?.closeSync();
    this.#instance = undefined;
    return { isReleased: await this.#isReleased() };
  }

  /** What is still under way is given up: a connection in use must not be closed. */
  async #end(session: Session | undefined): Promise<void> {
    session?.connection.interrupt();
    await session?.turn;
    session?.connection.closeSync();
  }

  /** A result that was not read to its end keeps the database open until it is collected. */
  async #isReleased(): Promise<boolean> {
    for (let look = 0; look < RELEASE_LOOKS; look++) {
      if ([...openFiles()].every((file) => this.#files.has(file))) {
        return true;
      }
      Bun.gc(true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return false;
  }
}

/** Paths of the regular files that this process has open. */
function openFiles(): ReadonlySet<string> {
  const paths = readdirSync("/proc/self/fd").map((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`);
    } catch {
      // Closed since: the one of the listing itself.
      return "";
    }
  });
  return new Set(paths.filter((path) => path.startsWith("/") && !path.startsWith("/proc/")));
}
