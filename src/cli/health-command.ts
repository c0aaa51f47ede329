/** `health`: the whole platform, once, again and again, or as a service. */
import { databaseUrlOf } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import { healthOptions } from "../config/tables.ts";
import type { JsonObject } from "../core/json.ts";
import type { HealthStatus } from "../health/finding.ts";
import { kindOf } from "../health/finding.ts";
import type { Change } from "../health/history.ts";
import { startHealthServer } from "../health/listen.ts";
import { HealthMonitor } from "../health/monitor.ts";
import type { HealthSettings } from "../health/plan.ts";
import { COMPONENTS, planChecks } from "../health/plan.ts";
import type { HealthReport } from "../health/report.ts";
import { reportJson, runChecks } from "../health/report.ts";
import { changeText, reportText } from "../health/text.ts";
import { createHealthMetrics } from "../observability/health-metrics.ts";
import { createRegistry } from "../observability/registry.ts";
import { suggestion } from "../template/nearest.ts";
import { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { field, formatJson, formatTable, rowsOf } from "./format.ts";
import { countsOf, countText, gpuProblems, runtimeProblems, runtimesText } from "./gpu-text.ts";
import { openLogger } from "./log.ts";
import { read, serverOf } from "./program-parts.ts";
import { readClientTls } from "./tls.ts";
import { VERSION } from "./version.ts";

export interface HealthFlags {
  readonly component?: readonly string[] | undefined;
  readonly watch?: boolean | undefined;
  readonly json?: boolean | undefined;
}

type HealthValues = Values<typeof healthOptions>;

const EXIT: Readonly<Record<HealthStatus, ExitReason>> = {
  ok: "ok",
  not_configured: "ok",
  unknown: "failed",
  degraded: "failed",
  down: "unreachable",
};
const CLEAR = "\u001b[H\u001b[2J\u001b[3J";
const WIDTH = 110;

export async function health(context: CliContext, flags: HealthFlags): Promise<ExitReason> {
  const values = read(context, healthOptions, flags);
  const settings = settingsOf(context, values, flags);
  if (values.listen !== undefined) {
    return await serve(context, values, settings);
  }
  return flags.watch === true
    ? await watch(context, { values, settings, isJson: flags.json === true })
    : await checkOnce(context, settings, flags);
}

function settingsOf(context: CliContext, values: HealthValues, flags: HealthFlags): HealthSettings {
  const server = serverOf(context, flags);
  const { natsUrl } = values;
  return {
    version: VERSION,
    timeoutMs: values.timeout,
    serverUrls: server.url.split(",").map((url) => url.trim().replace(/\/+$/, "")),
    serverAuthority: server.authority,
    token: server.token,
    databaseUrl: databaseUrlOf(values),
    nats:
      natsUrl === undefined
        ? undefined
        : {
            url: natsUrl.reveal(),
            user: values.natsUser,
            password: values.natsPassword?.reveal(),
            stream: values.natsStream,
            subjectPrefix: values.natsSubject,
            consumerPrefix: values.natsConsumer,
            maxAckPending: values.natsMaxAckPending,
            replicas: values.natsReplicas,
          },
    grpcAddresses: values.grpcAddress,
    grpcTls: readClientTls(values),
    pools: values.pool,
    victoriametricsUrl: values.victoriametricsUrl,
    victorialogsUrl: values.victorialogsUrl,
    logsFilter: values.victorialogsQuery,
    vmalertUrl: values.vmalertUrl,
    vectorUrl: values.vectorUrl,
    vectorMetricsUrl: values.vectorMetricsUrl,
    grafanaUrl: values.grafanaUrl,
    grafanaToken: values.grafanaToken,
    grafanaUser: values.grafanaUser,
    grafanaPassword: values.grafanaPassword,
    only: (flags.component ?? []).flatMap((names) => names.split(",")).map(checkComponent),
  };
}

/** @throws UsageError when there is no such component. */
function checkComponent(name: string): string {
  const kind = kindOf(name.trim());
  if (!COMPONENTS.some((each) => each === kind)) {
    const near = suggestion(kind, COMPONENTS);
    throw new UsageError(`--component must be one of ${COMPONENTS.join(", ")}, not ${name}${near}`);
  }
  return name.trim();
}

async function checkOnce(
  context: CliContext,
  settings: HealthSettings,
  { json }: HealthFlags,
): Promise<ExitReason> {
  const { timeoutMs } = settings;
  const asksPools =
    settings.only.length === 0 || settings.only.some((each) => kindOf(each) === "pool");
  const [report, equipment] = await Promise.all([
    runChecks(planChecks(settings), { timeoutMs, signal: context.signal }),
    asksPools ? readEquipment(context, settings) : NOTHING,
  ]);
  context.out(
    json === true
      ? formatJson({ ...reportJson(report, VERSION), ...equipment })
      : [reportText(report, styleOf(context)), ...equipmentLines(equipment)].join("\n"),
  );
  return EXIT[report.status];
}

function styleOf({ isTerminal }: CliContext) {
  const { columns = WIDTH } = process.stdout;
  return { hasColor: isTerminal, width: isTerminal ? columns : WIDTH };
}

/** What workers have to run containers and CUDA on; empty when nobody can say. */
interface Equipment {
  readonly workers: readonly JsonObject[];
  readonly gpus: readonly JsonObject[];
}

const NOTHING: Equipment = { workers: [], gpus: [] };

/** Of the first server that tells. Why none does is found by the checks. */
async function readEquipment(
  { signal }: CliContext,
  { serverUrls, serverAuthority: authority, token, timeoutMs }: HealthSettings,
): Promise<Equipment> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  for (const url of serverUrls) {
    const api = new Api({ url, token: token?.reveal(), authority, signal: limit });
    const answers = await Promise.all([
      api.getObject("/api/workers"),
      api.getObject("/api/gpus?limit=1000"),
    ]).catch(() => undefined);
    if (answers !== undefined) {
      return { workers: rowsOf(answers[0], "workers"), gpus: rowsOf(answers[1], "gpus") };
    }
  }
  return NOTHING;
}

function equipmentLines({ workers, gpus }: Equipment): readonly string[] {
  const live = workers.filter((worker) => worker["status"] !== "lost");
  const problems = [...live.flatMap(runtimeProblems), ...gpuProblems(gpus)];
  return [
    ...(live.length === 0 ? [] : ["", workerTable(live)]),
    ...(problems.length === 0 ? [] : ["", ...problems]),
  ];
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

interface WatchOptions {
  readonly values: HealthValues;
  readonly settings: HealthSettings;
  readonly isJson: boolean;
}

/** Drawn over on a terminal; elsewhere the first report, and then a line for each change. */
async function watch(context: CliContext, options: WatchOptions): Promise<ExitReason> {
  const { values, settings, isJson } = options;
  let isFirst = true;
  const monitor: HealthMonitor = new HealthMonitor({
    plan: planChecks(settings),
    timeoutMs: values.timeout,
    intervalMs: values.interval,
    onReport: (report, changes) => {
      const print = context.isTerminal || isFirst ? printTable : printChanges;
      (isJson ? printJson : print)({ context, report, changes, monitor });
      isFirst = false;
    },
  });
  await monitor.run(context.signal);
  return "ok";
}

interface Round {
  readonly context: CliContext;
  readonly report: HealthReport;
  readonly changes: readonly Change[];
  readonly monitor: HealthMonitor;
}

function printJson({ context, report, monitor }: Round): void {
  context.out(JSON.stringify(reportJson(report, VERSION, monitor.sinces)));
}

function printTable({ context, report, monitor }: Round): void {
  const sinces = context.isTerminal ? { sinces: monitor.sinces } : {};
  const text = reportText(report, { ...styleOf(context), ...sinces });
  const at = new Date(report.checkedAtMs).toTimeString().slice(0, 8);
  context.out(context.isTerminal ? `${CLEAR}${text}\nat ${at}, stop with Ctrl-C` : text);
}

function printChanges({ context, changes }: Round): void {
  for (const change of changes) {
    context.out(changeText(change));
  }
}

/** Until it is stopped. */
async function serve(
  { signal }: CliContext,
  values: HealthValues,
  settings: HealthSettings,
): Promise<ExitReason> {
  const log = openLogger("health", values);
  const registry = createRegistry({ hasProcessMetrics: true, written: log.written });
  const monitor = new HealthMonitor({
    plan: planChecks(settings),
    timeoutMs: values.timeout,
    intervalMs: values.interval,
    metrics: createHealthMetrics(registry),
    onReport: (_, changes) => {
      for (const { component, from, to } of changes) {
        const level = to.status === "ok" ? "info" : "warn";
        log[level]("The health of a component has changed", {
          of: component,
          from,
          to: to.status,
          reason: to.message,
        });
      }
    },
  });
  const address = parseListen(values.listen ?? "");
  await using server = startHealthServer({ ...address, monitor, registry, version: VERSION });
  log.info("listening", { host: address.host, port: server.port, version: VERSION });
  await monitor.run(signal);
  return "ok";
}

/** @throws UsageError. */
function parseListen(text: string): { readonly host: string; readonly port: number } {
  const [, host = "", port = ""] = /^(\[[^\]]+\]|[^:\s]*):(\d{1,5})$/.exec(text) ?? [];
  if (port === "" || Number(port) > 65_535) {
    throw new UsageError(`--listen must be :PORT or HOST:PORT, not ${text}`);
  }
  return { host: host.replace(/^\[|\]$/g, "") || "0.0.0.0", port: Number(port) };
}
