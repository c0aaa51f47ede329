/** NATS: reachable, JetStream on, the streams there and right, each pool's consumer there and drained. */
import type { BusFacts, ConsumerFacts, InspectOptions, StreamFacts } from "../bus/inspect.ts";
import { inspectBus } from "../bus/inspect.ts";
import type { JsonObject } from "../core/json.ts";
import type { Check, Finding, Problem } from "./finding.ts";
import { CheckFailure, CONNECT_SHARE, degraded, down } from "./finding.ts";
import { describePeer } from "./peer.ts";
import type { PlatformView } from "./platform-view.ts";
import { bytesText, count, listText } from "./words.ts";

export type NatsOptions = Omit<InspectOptions, "signal">;

const SETTING = "NATS_URL";
const STORAGE_SHARE = 0.85;
const UNACKED_SHARE = 0.9;
/** A few are normal: whoever has no slot gives a notification back. */
const REDELIVERED_MAX = 1000;

export function natsCheck(options: NatsOptions, view: PlatformView): Check {
  return {
    component: "nats",
    run: async ({ signal, doing }) => {
      // Who should have consumers; without an answer nobody is missed.
      const load = view.load().catch(() => undefined);
      doing(`NATS at ${hosts(options.url).join(", ")}`);
      let facts: BusFacts;
      try {
        facts = await inspectBus({
          ...options,
          timeoutMs: options.timeoutMs * CONNECT_SHARE,
          signal,
        });
      } catch (error) {
        throw await connectFailure(options, error);
      }
      doing("pools of the server");
      return [natsFinding(facts, options, (await load)?.pools ?? [])];
    },
  };
}

/** @param pools as the API lists them. */
export function natsFinding(
  facts: BusFacts,
  options: Pick<NatsOptions, "stream" | "consumerPrefix">,
  pools: readonly JsonObject[],
): Finding {
  const { serverVersion, commands, consumers, storage } = facts;
  const parts = [
    serverVersion,
    ...(commands === undefined
      ? []
      : [`${commands.name} with ${count(commands.messages, "message")}`]),
    count(consumers.length, "consumer"),
    `${bytesText(storage.usedBytes)} stored`,
  ];
  return {
    component: "nats",
    summary: parts.join(" · "),
    problems:
      facts.jetStreamProblem === undefined
        ? [
            ...streamProblems(options.stream, commands, "commands are announced late"),
            ...streamProblems("NOETL_LOGS", facts.logs, "what tasks write is lost"),
            ...storageProblems(facts),
            ...(commands === undefined ? [] : poolProblems(facts, options, pools)),
          ]
        : [jetStreamOff(facts)],
    facts: factsJson(facts),
  };
}

function jetStreamOff({ serverVersion, jetStreamProblem }: BusFacts): Problem {
  return down(
    `JetStream is off (NATS ${serverVersion}: ${jetStreamProblem ?? ""})`,
    "Start nats-server with -js or a jetstream block, or allow JetStream for this account.",
  );
}

function streamProblems(
  name: string,
  stream: StreamFacts | undefined,
  effect: string,
): readonly Problem[] {
  if (stream === undefined) {
    return [
      degraded(
        `Stream ${name} is missing: ${effect}`,
        "A server makes it again when it next needs it; if it stays away, read the servers' logs and compare NATS_STREAM and the account.",
      ),
    ];
  }
  if (stream.isLeaderless) {
    return [
      down(
        `Stream ${name} has no leader: its servers have no majority`,
        "Bring the missing NATS servers back.",
      ),
    ];
  }
  return [
    ...(stream.differences.length === 0
      ? []
      : [
          degraded(
            `Stream ${name} is configured differently: ${stream.differences.join("; ")}`,
            "Restart a server, which sets it right, or find out who changed it; replicas follow NATS_REPLICAS.",
          ),
        ]),
    ...(stream.lateCopies.length === 0
      ? []
      : [
          degraded(
            `Stream ${name} is not up to date on ${listText(stream.lateCopies)}`,
            "Bring these NATS servers back; another loss may stop the stream.",
          ),
        ]),
  ];
}

function storageProblems({ storage: { usedBytes, maxBytes } }: BusFacts): readonly Problem[] {
  return maxBytes !== undefined && usedBytes >= maxBytes * STORAGE_SHARE
    ? [
        degraded(
          `JetStream's store is nearly full: ${bytesText(usedBytes)} of ${bytesText(maxBytes)}`,
          "Raise max_file_store or the account's limit; other streams may take the room.",
        ),
      ]
    : [];
}

function poolProblems(
  { consumers }: BusFacts,
  { consumerPrefix }: Pick<NatsOptions, "consumerPrefix">,
  pools: readonly JsonObject[],
): readonly Problem[] {
  const missing = pools
    .filter(
      (pool) =>
        Number(pool["workers"]) > 0 && !consumers.some((each) => each.pool === pool["name"]),
    )
    .map((pool) => `${consumerPrefix}_${String(pool["name"])}`);
  return [
    ...(missing.length === 0
      ? []
      : [
          degraded(
            `No consumer ${listText(missing)}: workers of that pool hear of new commands late`,
            "Workers make it again within seconds; if it stays away, read their logs and compare NATS_CONSUMER.",
          ),
        ]),
    ...consumers.flatMap((consumer) => consumerProblems(consumer, pools)),
  ];
}

function consumerProblems(
  consumer: ConsumerFacts,
  pools: readonly JsonObject[],
): readonly Problem[] {
  const pool = pools.find((each) => each["name"] === consumer.pool);
  const isDeaf =
    consumer.pending > 0 && consumer.pulls === 0 && Number(pool?.["free_slots"] ?? 0) > 0;
  const problems = [
    consumer.differences.length > 0 &&
      degraded(
        `Consumer ${consumer.name} is configured differently: ${consumer.differences.join("; ")}`,
        "Restart a worker of the pool, which sets it right; NATS_MAX_ACK_PENDING must be the same everywhere.",
      ),
    isDeaf &&
      degraded(
        `Nobody asks consumer ${consumer.name} for its ${count(consumer.pending, "notification")}, though slots are free`,
        "Its workers do not hear NATS: compare their NATS_URL, read their logs.",
      ),
    consumer.unacked >= consumer.unackedMax * UNACKED_SHARE &&
      degraded(
        `Consumer ${consumer.name} waits for ${consumer.unacked} of at most ${consumer.unackedMax} acknowledgements`,
        "Workers take notifications and do not claim: look at the server's gRPC and at PostgreSQL.",
      ),
    consumer.redelivered >= REDELIVERED_MAX &&
      degraded(
        `Consumer ${consumer.name} has ${consumer.redelivered} notifications under way again`,
        "Workers take notifications and give them back or die: read their logs.",
      ),
  ];
  return problems.filter((problem) => problem !== false);
}

function factsJson({ commands, logs, ...facts }: BusFacts): JsonObject {
  const stream = (each: StreamFacts | undefined) =>
    each === undefined
      ? null
      : {
          name: each.name,
          messages: each.messages,
          bytes: each.bytes,
          replicas: each.copies,
          leader: each.leader ?? null,
        };
  return {
    server_version: facts.serverVersion,
    server_name: facts.serverName,
    cluster: facts.cluster ?? null,
    round_trip_seconds: facts.roundTripMs / 1000,
    is_jetstream_on: facts.jetStreamProblem === undefined,
    storage_bytes: facts.storage.usedBytes,
    storage_bytes_max: facts.storage.maxBytes ?? null,
    command_stream: stream(commands),
    log_stream: stream(logs),
    consumers: facts.consumers.map((each) => ({
      pool: each.pool,
      name: each.name,
      pending: each.pending,
      ack_pending: each.unacked,
      redelivered: each.redelivered,
      pulls: each.pulls,
    })),
  };
}

function hosts(url: string): readonly string[] {
  return url.split(",").map((each) => URL.parse(each.trim())?.host ?? each.trim());
}

async function connectFailure({ url }: NatsOptions, error: unknown): Promise<CheckFailure> {
  const said = error instanceof Error ? error.message : String(error);
  const at = hosts(url).join(", ");
  if (/authorization|authentication/i.test(said)) {
    return new CheckFailure(
      `NATS at ${at} refuses user or password (${said})`,
      `Correct NATS_USER and NATS_PASSWORD, or what ${SETTING} holds.`,
    );
  }
  const first = URL.parse(url.split(",")[0]?.trim() ?? "");
  const peer = await describePeer({
    host: first?.hostname ?? "",
    port: Number(first?.port ?? "") || 4222,
  });
  if (peer.startsWith("a NATS")) {
    const isTls = first?.protocol === "tls:";
    return new CheckFailure(
      `NATS at ${at} answers, and no connection comes about: ${said}`,
      isTls ? `Does it speak TLS? Otherwise write nats:// in ${SETTING}.` : "Read its log.",
    );
  }
  return new CheckFailure(
    `No NATS at ${at}: ${peer}`,
    peer.includes("answers there")
      ? `Correct ${SETTING}: that is another program's port.`
      : `Start it, or correct ${SETTING}.`,
  );
}
