/** `health`: a server and its components, and what its workers have to run containers and CUDA on. */
import type { JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { JsonFlag } from "./catalog-commands.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { field, formatJson, formatTable, rowsOf } from "./format.ts";
import { countsOf, countText, gpuProblems, runtimeProblems, runtimesText } from "./gpu-text.ts";

/** What workers have; empty when the server cannot say. */
interface Equipment {
  readonly workers: readonly JsonObject[];
  readonly gpus: readonly JsonObject[];
}

/** Asks the server about its components and workers. Only components decide how it ends. */
export async function health({ out }: CliContext, api: Api, flags: JsonFlag): Promise<ExitReason> {
  const report = await readHealth(api);
  const isOk = report["status"] === "ok";
  const equipment = isOk ? await readEquipment(api) : { workers: [], gpus: [] };
  out(
    flags.json === true
      ? formatJson({ ...report, workers: equipment.workers, gpus: equipment.gpus })
      : healthText(report, equipment),
  );
  return isOk ? "ok" : "failed";
}

/** An unhealthy server answers 503 with the same report. */
async function readHealth(api: Api): Promise<JsonObject> {
  const response = await api.get("/api/health").catch((error: unknown) => {
    const details = error instanceof Object && "details" in error ? error.details : undefined;
    if (isJsonObject(details) && details["database"] !== undefined) {
      return details;
    }
    throw error;
  });
  return isJsonObject(response) ? response : {};
}

async function readEquipment(api: Api): Promise<Equipment> {
  const [workers, gpus] = await Promise.all([
    api.getObject("/api/workers"),
    api.getObject("/api/gpus?limit=1000"),
  ]);
  return { workers: rowsOf(workers, "workers"), gpus: rowsOf(gpus, "gpus") };
}

function healthText(report: JsonObject, { workers, gpus }: Equipment): string {
  const components = ["database", "nats"].map((name) => [name, field(report, name)]);
  const server = ["server", `${field(report, "status")} (${field(report, "version")})`];
  const live = workers.filter((worker) => worker["status"] !== "lost");
  const problems = [...live.flatMap(runtimeProblems), ...gpuProblems(gpus)];
  return [
    formatTable(["component", "state"], [server, ...components]),
    ...(live.length === 0 ? [] : ["", workerTable(live)]),
    ...(problems.length === 0 ? [] : ["", ...problems]),
  ].join("\n");
}

function workerTable(workers: readonly JsonObject[]): string {
  return formatTable(
    ["pool", "worker", "containers", "gpus"],
    workers.map((worker) => [
      field(worker, "pool"),
      field(worker, "name"),
      runtimesText(worker) || "none",
      countText(countsOf(worker)) || "none",
    ]),
  );
}
