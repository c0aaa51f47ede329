/** How NATS and what the platform keeps there are, for `noetl health`: one connection, nothing is made or changed. */
import type {
  ConsumerInfo,
  JetStreamManager,
  NatsConnection,
  ServerInfo,
  StreamConfig,
  StreamInfo,
} from "nats";
import { connect, NatsError } from "nats";
import { errorMessage } from "../core/errors.ts";
import type { BusConnectionOptions } from "./connection.ts";
import { connectionOptions } from "./connection.ts";
import {
  commandConsumerConfig,
  commandStreamConfig,
  logStreamConfig,
  orMissing,
  replicas,
} from "./stream.ts";
import { poolFilter } from "./subject.ts";

export interface InspectOptions extends Omit<BusConnectionOptions, "log" | "signal" | "name"> {
  readonly stream: string;
  readonly subjectPrefix: string;
  readonly consumerPrefix: string;
  readonly maxAckPending: number;
  readonly replicas: number;
  /** Of connecting, and of each question. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface BusFacts {
  readonly serverName: string;
  readonly serverVersion: string;
  readonly cluster: string | undefined;
  readonly roundTripMs: number;
  /** Why JetStream does not answer; undefined: it does. */
  readonly jetStreamProblem: string | undefined;
  readonly storage: { readonly usedBytes: number; readonly maxBytes: number | undefined };
  /** Undefined: there is none. */
  readonly commands: StreamFacts | undefined;
  readonly logs: StreamFacts | undefined;
  /** Of the platform's pools on the commands' stream. */
  readonly consumers: readonly ConsumerFacts[];
}

export interface StreamFacts {
  readonly name: string;
  readonly messages: number;
  readonly bytes: number;
  readonly copies: number;
  /** What is configured in another way than the platform does, as texts. */
  readonly differences: readonly string[];
  /** Of a cluster: undefined without one. */
  readonly leader: string | undefined;
  readonly isLeaderless: boolean;
  /** Copies that are offline or behind. */
  readonly lateCopies: readonly string[];
}

export interface ConsumerFacts {
  readonly pool: string;
  readonly name: string;
  /** Notifications that nobody has taken yet. */
  readonly pending: number;
  readonly unacked: number;
  readonly unackedMax: number;
  readonly redelivered: number;
  /** Workers' pull requests that are open. */
  readonly pulls: number;
  readonly differences: readonly string[];
}

const LOG_STREAM = "NOETL_LOGS";
const LOG_SUBJECTS = "noetl.logs";

/** @throws NatsError, or whatever the client throws when it cannot connect. */
export async function inspectBus(options: InspectOptions): Promise<BusFacts> {
  const connection = await connect({
    ...connectionOptions({ ...options, name: "noetl health" }),
    timeout: options.timeoutMs,
    reconnect: false,
    maxReconnectAttempts: 0,
    waitOnFirstConnect: false,
    ignoreAuthErrorAbort: false,
  });
  const cut = (): void => void connection.close();
  options.signal.addEventListener("abort", cut, { once: true });
  try {
    return await read(connection, options);
  } finally {
    options.signal.removeEventListener("abort", cut);
    await connection.close();
  }
}

async function read(connection: NatsConnection, options: InspectOptions): Promise<BusFacts> {
  const roundTripMs = await connection.rtt();
  const manager = await connection.jetstreamManager({
    checkAPI: false,
    timeout: options.timeoutMs,
  });
  const server = serverFacts(connection.info);
  const account = await readAccount(manager);
  if (typeof account === "string") {
    return {
      ...server,
      roundTripMs,
      jetStreamProblem: account,
      storage: { usedBytes: 0, maxBytes: undefined },
      commands: undefined,
      logs: undefined,
      consumers: [],
    };
  }
  const copies = replicas(options.replicas);
  const commands = { ...commandStreamConfig(options.stream, options.subjectPrefix), ...copies };
  const logs = { ...logStreamConfig(LOG_STREAM, LOG_SUBJECTS), ...copies };
  const [commandInfo, logInfo] = await Promise.all(
    [options.stream, LOG_STREAM].map((name) => orMissing(() => manager.streams.info(name))),
  );
  return {
    ...server,
    roundTripMs,
    jetStreamProblem: undefined,
    storage: account,
    commands: commandInfo && streamFacts(commandInfo, commands),
    // How long logs are kept is for operators to choose.
    logs: logInfo && streamFacts(logInfo, { ...logs, max_age: logInfo.config.max_age }),
    consumers: commandInfo === undefined ? [] : await readConsumers(manager, options),
  };
}

function serverFacts(info: ServerInfo | undefined) {
  return {
    serverName: info?.server_name ?? "",
    serverVersion: info?.version ?? "",
    cluster: info?.cluster,
  };
}

/** What the account uses, or why there is no JetStream for it. */
async function readAccount(manager: JetStreamManager): Promise<BusFacts["storage"] | string> {
  try {
    const { storage, limits } = await manager.getAccountInfo();
    return {
      usedBytes: storage,
      maxBytes: limits.max_storage > 0 ? limits.max_storage : undefined,
    };
  } catch (error) {
    if (!(error instanceof NatsError)) {
      throw error;
    }
    const isOff = error.code === "503" || error.isJetStreamError();
    return isOff ? (error.api_error?.description ?? "nobody answers for it") : errorMessage(error);
  }
}

type Wanted = Partial<StreamConfig>;

const STREAM_FIELDS = [
  "subjects",
  "storage",
  "retention",
  "discard",
  "max_age",
  "max_bytes",
  "duplicate_window",
  "num_replicas",
] as const satisfies readonly (keyof StreamConfig)[];

function streamFacts({ config, state, cluster }: StreamInfo, wanted: Wanted): StreamFacts {
  const late = (cluster?.replicas ?? []).filter((each) => each.offline === true || !each.current);
  return {
    name: config.name,
    messages: state.messages,
    bytes: state.bytes,
    copies: config.num_replicas,
    differences: STREAM_FIELDS.flatMap((field) => difference(field, config[field], wanted[field])),
    leader: cluster?.leader,
    isLeaderless: cluster?.name !== undefined && (cluster.leader ?? "") === "",
    lateCopies: late.map(({ name }) => name),
  };
}

/** Texts compare alike for numbers, names and lists of them. Nothing is wanted of what is not named. */
function difference(field: string, is: unknown, wanted: unknown): readonly string[] {
  return wanted === undefined || JSON.stringify(is) === JSON.stringify(wanted)
    ? []
    : [`${field} is ${JSON.stringify(is ?? null)}, not ${JSON.stringify(wanted)}`];
}

async function readConsumers(
  manager: JetStreamManager,
  options: InspectOptions,
): Promise<readonly ConsumerFacts[]> {
  const found: ConsumerFacts[] = [];
  for await (const info of manager.consumers.list(options.stream)) {
    const prefix = `${options.consumerPrefix}_`;
    if (info.name.startsWith(prefix)) {
      found.push(consumerFacts(info, info.name.slice(prefix.length), options));
    }
  }
  return found;
}

const CONSUMER_FIELDS = ["ack_policy", "ack_wait", "filter_subject", "max_ack_pending"] as const;

function consumerFacts(info: ConsumerInfo, pool: string, options: InspectOptions): ConsumerFacts {
  const wanted = commandConsumerConfig({
    durableName: info.name,
    filter: poolFilter(options.subjectPrefix, pool),
    maxAckPending: options.maxAckPending,
  });
  return {
    pool,
    name: info.name,
    pending: info.num_pending,
    unacked: info.num_ack_pending,
    unackedMax: info.config.max_ack_pending ?? options.maxAckPending,
    redelivered: info.num_redelivered,
    pulls: info.num_waiting,
    differences: CONSUMER_FIELDS.flatMap((field) =>
      difference(field, info.config[field], wanted[field]),
    ),
  };
}
