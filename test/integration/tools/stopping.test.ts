/**
 * Every tool stops in the middle of what it does, when it is cancelled and when its time is over, and
 * says which of the two it was.
 */
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { connect } from "nats";
import type { JsonObject } from "../../../src/core/json.ts";
import { startNats } from "../../support/nats.ts";
import { noPodman, sharedPodman } from "../../support/podman.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { startSnowflake } from "../../support/snowflake.ts";
import { waitFor } from "../../support/wait.ts";
import type { Call } from "./call.ts";
import { failureFrom } from "./call.ts";
import { containerTools, newCommand } from "./container-call.ts";
import { startMcpServer } from "./mcp-server.ts";

setDefaultTimeout(30_000);

const filesDir = makeScratchDir("stopping");
const podman = noPodman === undefined ? await sharedPodman() : undefined;
const tools = await containerTools(podman === undefined ? [] : [podman.connect()], { filesDir });
const db = await createTestDatabase({ isMigrated: false });
const nats = await startNats();
const admin = await connect({ servers: `127.0.0.1:${nats.port}` });
const manager = await admin.jetstreamManager();
await manager.streams.add({ name: "QUIET", subjects: ["quiet.>"] });
const snowflake = startSnowflake({ SLEEP: { polls: Number.POSITIVE_INFINITY } });
const mcp = startMcpServer();

/** Takes requests, and connections, and says nothing. */
let askedCount = 0;
const silent = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch: () => {
    askedCount++;
    return new Promise<Response>(() => undefined);
  },
});
const silentUrl = `http://127.0.0.1:${silent.port}/`;
let connectionCount = 0;
const mute = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  socket: { open: () => void connectionCount++, data: () => undefined },
});
afterAll(async () => {
  mute.stop(true);
  await Promise.all([silent.stop(true), snowflake.stop(), mcp.stop(), tools.close()]);
  await admin.close();
  await nats.stop();
  await db[Symbol.asyncDispose]();
});

interface Endless {
  readonly config: JsonObject;
  readonly call?: Partial<Call>;
  /** True once the tool is in the middle of it. Absent: it logs a line then. */
  readonly isUnderWay?: () => boolean | Promise<boolean>;
}

const LONG = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000000) b";

function query(): Endless {
  const mark = `mark ${crypto.randomUUID()}`;
  const isUnderWay = async (): Promise<boolean> => {
    const found = await db.sql`
      SELECT 1 FROM pg_stat_activity
      WHERE query LIKE ${`%${mark}%`} AND state = 'active' AND pid <> pg_backend_pid()`;
    return found.length > 0;
  };
  const command = `SELECT pg_sleep(60) /* ${mark} */`;
  return { config: { connection_string: db.url, command }, isUnderWay };
}

function analysis(): Endless {
  const file = `${crypto.randomUUID()}.csv`;
  const command = `COPY (SELECT 1) TO '${file}'; ${LONG}`;
  return { config: { command }, isUnderWay: () => existsSync(join(filesDir, file)) };
}

function request(config: JsonObject): Endless {
  const before = askedCount;
  return { config, isUnderWay: () => askedCount > before };
}

function login(config: JsonObject): Endless {
  const before = connectionCount;
  const data = { host: "127.0.0.1", port: mute.port, user: "u", private_key: "k" };
  const call = { credentials: { box: { type: "ssh", data } } };
  return { config: { auth: "box", ...config }, call, isUnderWay: () => connectionCount > before };
}

function pull(operation: string): Endless {
  const consumer = `c-${crypto.randomUUID()}`;
  const config = { url: nats.url, stream: "QUIET", consumer, timeout_ms: 60_000, operation };
  const isUnderWay = async (): Promise<boolean> => {
    const info = await manager.consumers.info("QUIET", consumer).catch(() => undefined);
    return (info?.num_waiting ?? 0) > 0;
  };
  return { config, isUnderWay };
}

function statement(): Endless {
  const before = snowflake.submitted.length;
  const credentials = { sf: { type: "snowflake", data: snowflake.credential } };
  return {
    config: { auth: "sf", command: "SLEEP" },
    call: { credentials },
    isUnderWay: () => snowflake.submitted.length > before,
  };
}

/** A secret whose source does not answer. */
function secret(): Endless {
  let isAsked = false;
  const credential = (): Promise<never> => {
    isAsked = true;
    return new Promise(() => undefined);
  };
  return { config: { auth: "vault" }, call: { credential }, isUnderWay: () => isAsked };
}

/** A value of a store that does not answer. */
function value(): Endless {
  let isAsked = false;
  const never = (): Promise<never> => {
    isAsked = true;
    return new Promise(() => undefined);
  };
  const artifacts = { describe: never, read: never, put: never, list: never, remove: never };
  const config = { action: "get", name: "report" };
  return { config, call: { artifacts }, isUnderWay: () => isAsked };
}

/** The command of each try is another one, as the container's name follows from it. */
function container(config: JsonObject): Endless {
  const image = podman?.image ?? "";
  return { config: { image, network: "none", ...config }, call: { command: newCommand() } };
}

const code = (text: string): Endless => ({ config: { code: text } });
const JAVASCRIPT = 'console.log("begun"); await new Promise(() => {});';
const PYTHON = 'import time\nprint("begun", flush=True)\ntime.sleep(60)';

const ENDLESS: Readonly<Record<string, () => Endless>> = {
  artifact: value,
  container: () => container({ command: "echo begun; exec sleep 60", timeouts: { stop_grace: 1 } }),
  cuda: () =>
    container({ script: "echo begun; exec sleep 60", gpu: 0, timeouts: { stop_grace: 1 } }),
  duckdb: analysis,
  ducklake: analysis,
  http: () => request({ url: silentUrl }),
  javascript: () => code(JAVASCRIPT),
  mcp: () => ({ config: { endpoint: mcp.url, tool: "hang" } }),
  nats: () => pull("js_consume"),
  postgres: query,
  python: () => code(PYTHON),
  script: () => code(PYTHON),
  secrets: secret,
  sftp: () => login({ operation: "list", path: "/" }),
  shell: () => ({ config: { command: "echo begun; sleep 60" } }),
  snowflake: statement,
  ssh: () => login({ command: "true" }),
  subscription: () => pull("poll"),
  transfer: () =>
    request({
      source: { type: "http", url: silentUrl },
      target: { type: "postgres", connection_string: db.url, table: "t" },
    }),
  typescript: () => code(JAVASCRIPT),
};

/** Stops the task once it is under way. */
async function stopped(kind: string, reason?: Error) {
  const begin = ENDLESS[kind];
  if (begin === undefined) {
    throw new Error(`nothing makes a task of kind ${kind} last`);
  }
  const { config, call, isUnderWay } = begin();
  const stop = new AbortController();
  let isLogged = false;
  const onLog = (stream: string): void => {
    isLogged ||= stream !== "system";
  };
  const tool = tools.get(kind);
  const failed = failureFrom(tool, { config, onLog, ...call, signal: stop.signal });
  await Promise.race([waitFor(`${kind} to begin`, isUnderWay ?? (() => isLogged)), failed]);
  stop.abort(reason);
  try {
    return await failed;
  } finally {
    await tool?.settled?.(call?.command ?? newCommand());
  }
}

test("nothing is left out but noop, which is over at once", () => {
  const kinds = [...tools.kinds, ...tools.lacking.keys()].filter((kind) => kind !== "noop");
  expect(Object.keys(ENDLESS).sort()).toEqual(kinds.sort());
});

describe.each(Object.keys(ENDLESS).filter((kind) => !tools.lacking.has(kind)))("%s", (kind) => {
  test("stops when it is cancelled", async () => {
    expect(await stopped(kind)).toMatchObject({ kind: "cancelled" });
  });

  test("stops when its time is over", async () => {
    const over = new DOMException("The task ran into its time limit", "TimeoutError");
    expect(await stopped(kind, over)).toMatchObject({ kind: "timeout" });
  });
});
