/** Why an execution does not go on, in words: its queue, what it waits for, pools without room. */
import { sleep } from "../core/clock.ts";
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Api } from "./api.ts";
import { field, rowsOf } from "./format.ts";
import { placeOf, shortId } from "./gpu-text.ts";

/** Short runs are never asked about. */
const FIRST_LOOK_MS = 1000;
const LOOK_MS = 2000;
/** Commands whose GPUs are named. */
const HOLDERS_MAX = 10;

/** Looks every two seconds and tells the reasons whenever they are others; ends with `signal`. */
export async function followReasons(
  api: Api,
  id: string,
  { signal, onChange }: { signal: AbortSignal; onChange: (reasons: readonly string[]) => void },
): Promise<void> {
  let known = "";
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = LOOK_MS) {
    await sleep(pauseMs, signal);
    if (signal.aborted) {
      return;
    }
    // A server that is away says nothing; the stream of events tries again by itself.
    const reasons = await readReasons(api, id).catch(() => undefined);
    if (reasons !== undefined && reasons.join("\n") !== known && !signal.aborted) {
      known = reasons.join("\n");
      onChange(reasons);
    }
  }
}

async function readReasons(api: Api, id: string): Promise<readonly string[]> {
  const [status, commands, pools] = await Promise.all([
    api.getObject(`/api/executions/${id}/status`),
    api.getObject(`/api/executions/${id}/commands`),
    api.get("/api/worker/pools"),
  ]);
  return reasonsToWait(id, {
    status,
    commands: rowsOf(commands, "commands"),
    pools: rowsOf(pools),
  });
}

/** One line each; none when all goes on. */
export function reasonsToWait(
  id: string,
  facts: {
    readonly status: JsonObject;
    readonly commands: readonly JsonObject[];
    readonly pools: readonly JsonObject[];
  },
): readonly string[] {
  const queue = field(facts.status, "waiting_reason");
  return [
    ...(queue === "" ? [] : [queue]),
    ...rowsOf(facts.status, "waiting").flatMap((wait) => signalReason(id, wait)),
    ...commandReasons(facts.commands, facts.pools),
  ];
}

/** Why queued commands wait: for GPUs as they say themselves, others for what their pool says. */
export function commandReasons(
  commands: readonly JsonObject[],
  pools: readonly JsonObject[],
): readonly string[] {
  const hasWorker = new Set(
    pools.filter((pool) => Number(pool["workers"]) > 0).map((pool) => field(pool, "name")),
  );
  const [forGpus, others] = partition(
    commands,
    (command) =>
      command["status"] === "queued" &&
      field(command, "waiting_reason") !== "" &&
      hasWorker.has(field(command, "pool")),
  );
  return [...gpuReasons(forGpus), ...poolReasons(others, pools)];
}

function partition<Item>(
  items: readonly Item[],
  isFirst: (item: Item) => boolean,
): readonly [Item[], Item[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}

/** By reason. */
function gpuReasons(commands: readonly JsonObject[]): readonly string[] {
  const groups = Map.groupBy(commands, (command) => field(command, "waiting_reason"));
  return [...groups].map(([reason, all]) => `${placesText(all)}: ${reason}`);
}

/** `train`, or `3 commands of train`. */
function placesText(commands: readonly JsonObject[]): string {
  const [first] = commands;
  return first !== undefined && commands.length === 1
    ? placeOf(first)
    : `${commands.length} commands of ${stepsText(commands)}`;
}

function stepsText(commands: readonly JsonObject[]): string {
  return [...new Set(commands.map((command) => field(command, "step")))].join(", ");
}

/** `1 command of train waits`. */
function waitsText(commands: readonly JsonObject[]): string {
  const count = commands.length === 1 ? "1 command" : `${commands.length} commands`;
  return `${count} of ${stepsText(commands)} wait${commands.length === 1 ? "s" : ""}`;
}

/** Which GPUs commands have, a line each, as long as they are few. */
export function holderLines(commands: readonly JsonObject[]): readonly string[] {
  const holders = commands.filter(
    (command) => command["status"] !== "queued" && rowsOf(command, "gpus").length > 0,
  );
  const lines = holders.slice(0, HOLDERS_MAX).map((command) => {
    const names = rowsOf(command, "gpus").map(
      (gpu) => `${field(gpu, "name")} (${shortId(field(gpu, "id"))})`,
    );
    const verb = command["status"] === "cancelling" ? "is being stopped on" : "runs on";
    return `${placeOf(command)} ${verb} ${names.join(", ")}`;
  });
  const more = holders.length - lines.length;
  return more > 0 ? [...lines, `and ${more} more: noetl gpu list`] : lines;
}

/** What it waits for stands in the tree; how to end the wait does not. */
function signalReason(id: string, wait: JsonObject): readonly string[] {
  const signal = field(wait, "signal");
  const name = /^[\w.-]+$/.test(signal) ? signal : JSON.stringify(signal);
  return signal === ""
    ? []
    : [`${field(wait, "step")} waits for signal ${signal}: noetl signal ${id} ${name}`];
}

/** Of steps that have a command at a worker the others wait for their turn, which is no reason. */
function poolReasons(
  commands: readonly JsonObject[],
  pools: readonly JsonObject[],
): readonly string[] {
  const queued = commands.filter((command) => command["status"] === "queued");
  const busy = new Set(commands.filter((one) => !queued.includes(one)).map((one) => one["step"]));
  return [...Map.groupBy(queued, (command) => field(command, "pool"))].flatMap(([name, all]) => {
    const pool = pools.find((each) => each["name"] === name);
    const isEmpty = !isJsonObject(pool) || Number(pool["workers"]) === 0;
    const list = isEmpty ? all : all.filter((command) => !busy.has(command["step"]));
    const reason = isEmpty ? `pool ${name} has no live worker` : field(pool, "waiting_reason");
    if (list.length === 0 || reason === "") {
      return [];
    }
    const hint = isEmpty ? `; start one with noetl worker --pool ${name}` : "";
    return [`${waitsText(list)}: ${reason}${hint}`];
  });
}
