/**
 * What the platform's own API says of itself, asked once in a round of checks and used by several of them. With
 * several servers, the first that answers tells of pools.
 */
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Answer, Service } from "./ask.ts";
import { ask, notIt, readJson } from "./ask.ts";
import type { CheckContext } from "./finding.ts";
import { CheckFailure } from "./finding.ts";

export interface PlatformView {
  /** In the order of the settings. */
  readonly servers: readonly Service[];
  /** What a server says of itself. Rejects with CheckFailure, as {@link load} does. */
  report(server: Service): Promise<ServerReport>;
  /** Pools and workers. */
  load(): Promise<PlatformLoad>;
  /** Has everything asked again: a new round begins. */
  forget(): void;
}

/** A little less than a check has: whoever waits for the answer can still say why there is none. */
const TIME_SHARE = 0.9;

/** `/readyz`, which asks for no token. */
export interface ServerReport {
  readonly isReady: boolean;
  readonly version: string;
  readonly uptimeMs: number;
  /** `ok`, or why not. */
  readonly database: string;
  readonly nats: string;
}

export interface PlatformLoad {
  readonly pools: readonly JsonObject[];
  readonly workers: readonly JsonObject[];
  /** GPUs of all workers. */
  readonly gpus: readonly JsonObject[];
  /** The server's clock, which wrote the times in it. */
  readonly nowMs: number;
}

export function createPlatformView(servers: readonly Service[], timeoutMs: number): PlatformView {
  const limitMs = timeoutMs * TIME_SHARE;
  const createContext = (): CheckContext => ({
    signal: AbortSignal.timeout(limitMs),
    doing: () => undefined,
  });
  const reports = new Map<Service, Promise<ServerReport>>();
  let load: Promise<PlatformLoad> | undefined;
  return {
    servers,
    report: (server) => once(reports, server, () => readReport(server, createContext())),
    load: () => {
      load ??= readLoad(servers, createContext());
      return load;
    },
    forget: () => {
      reports.clear();
      load = undefined;
    },
  };
}

function once<Key, Value>(
  known: Map<Key, Promise<Value>>,
  key: Key,
  make: () => Promise<Value>,
): Promise<Value> {
  const value = known.get(key) ?? make();
  known.set(key, value);
  return value;
}

async function readReport(server: Service, context: CheckContext): Promise<ServerReport> {
  const answer = await ask(server, { path: "/readyz", accept: [503] }, context);
  const value = readJson(answer.text);
  const body = isJsonObject(value) ? value : {};
  const { version, database, nats, uptime_seconds: uptime } = body;
  if (typeof version !== "string" || typeof database !== "string" || typeof nats !== "string") {
    throw notIt(server, `HTTP ${answer.status} for /readyz without a noetl server's words`);
  }
  return {
    isReady: body["status"] === "ok",
    version,
    uptimeMs: typeof uptime === "number" ? uptime * 1000 : 0,
    database,
    nats,
  };
}

/** @throws CheckFailure of the last server that was asked. */
async function readLoad(servers: readonly Service[], context: CheckContext): Promise<PlatformLoad> {
  let failure: unknown = new CheckFailure("No server is named", "Set NOETL_SERVER_URL.");
  for (const server of servers) {
    try {
      return await readLoadOf(server, context);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

async function readLoadOf(server: Service, context: CheckContext): Promise<PlatformLoad> {
  const paths = ["/api/worker/pools", "/api/workers", "/api/gpus?limit=1000"];
  const [pools, workers, gpus] = await Promise.all(
    paths.map((path) => ask(server, { path }, context)),
  );
  return {
    pools: rows(pools, undefined),
    workers: rows(workers, "workers"),
    gpus: rows(gpus, "gpus"),
    nowMs: clockOf(pools),
  };
}

function rows(answer: Answer | undefined, name: string | undefined): readonly JsonObject[] {
  const value = readJson(answer?.text ?? "");
  const list = name === undefined || !isJsonObject(value) ? value : value[name];
  return Array.isArray(list) ? list.filter(isJsonObject) : [];
}

/** To the second; ours may be off. */
function clockOf(answer: Answer | undefined): number {
  const atMs = Date.parse(answer?.headers.get("date") ?? "");
  return Number.isNaN(atMs) ? Date.now() : atMs;
}
