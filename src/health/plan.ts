/** Which checks there are, by what is configured. What is not configured is said, and never fails. */
import type { Secret } from "../core/secret.ts";
import type { ClientTls } from "../rpc/tls.ts";
import type { Service } from "./ask.ts";
import type { Check } from "./finding.ts";
import { kindOf } from "./finding.ts";
import { grafanaCheck } from "./grafana.ts";
import { grpcChecks, guessedGrpcCheck } from "./grpc.ts";
import type { NatsOptions } from "./nats.ts";
import { natsCheck } from "./nats.ts";
import type { PlatformView } from "./platform-view.ts";
import { createPlatformView } from "./platform-view.ts";
import { poolsCheck } from "./pools.ts";
import { postgresqlCheck } from "./postgresql.ts";
import type { CheckPlan, Unconfigured } from "./report.ts";
import { secondHandCheck, serverChecks } from "./server.ts";
import { vectorCheck } from "./vector.ts";
import { victorialogsCheck } from "./victorialogs.ts";
import { victoriametricsCheck } from "./victoriametrics.ts";
import { vmalertCheck } from "./vmalert.ts";

/** What can be asked about, in the order in which it is shown. */
export const COMPONENTS = [
  "postgresql",
  "nats",
  "server",
  "grpc",
  "pool",
  "victoriametrics",
  "victorialogs",
  "vmalert",
  "vector",
  "grafana",
] as const;
export type ComponentKind = (typeof COMPONENTS)[number];

export interface HealthSettings {
  /** Of this binary. */
  readonly version: string;
  readonly timeoutMs: number;
  /** Of the HTTP API, at least one. */
  readonly serverUrls: readonly string[];
  /** PEM of who signed the certificates of `https://` servers; undefined: known authorities. */
  readonly serverAuthority?: string | undefined;
  readonly token: Secret | undefined;
  /** Undefined: the servers are asked about it. */
  readonly databaseUrl: Secret | undefined;
  /** Undefined: the servers are asked about it. */
  readonly nats: Omit<NatsOptions, "timeoutMs"> | undefined;
  /** `host:port` or `tls://host:port`. */
  readonly grpcAddresses: readonly string[];
  /** For `tls://` addresses; undefined: known authorities, no certificate. */
  readonly grpcTls?: ClientTls | undefined;
  /** Pools that must have a live worker. */
  readonly pools: readonly string[];
  readonly victoriametricsUrl: Secret | undefined;
  readonly victorialogsUrl: Secret | undefined;
  /** LogsQL filter of the platform's own lines. */
  readonly logsFilter: string;
  readonly vmalertUrl: Secret | undefined;
  readonly vectorUrl: Secret | undefined;
  readonly vectorMetricsUrl: Secret | undefined;
  readonly grafanaUrl: Secret | undefined;
  readonly grafanaToken: Secret | undefined;
  readonly grafanaUser: string | undefined;
  readonly grafanaPassword: Secret | undefined;
  /** `nats`, `pool`, `pool/cpu-01`; empty: all. */
  readonly only: readonly string[];
}

interface Part {
  readonly checks?: readonly Check[];
  readonly unconfigured?: string;
}

export function planChecks(settings: HealthSettings): CheckPlan {
  const view = createPlatformView(serversOf(settings), settings.timeoutMs);
  const { only } = settings;
  const isWanted = (component: string): boolean =>
    only.length === 0 || only.some((name) => name === component || name === kindOf(component));
  const kinds = COMPONENTS.filter(
    (kind) => only.length === 0 || only.some((name) => kindOf(name) === kind),
  );
  const parts = kinds.map((component) => ({ component, ...partOf(component, settings, view) }));
  return {
    checks: parts.flatMap(({ checks = [] }) => checks),
    unconfigured: parts.flatMap(({ component, unconfigured: setting }): readonly Unconfigured[] =>
      setting === undefined ? [] : [{ component, setting }],
    ),
    begin: () => view.forget(),
    isWanted,
  };
}

function serversOf({ serverUrls, serverAuthority, token }: HealthSettings): readonly Service[] {
  return serverUrls.map((url) => ({
    name: "noetl server",
    start: "Start one with `noetl up`, or name another with --server-url or NOETL_SERVER_URL.",
    url,
    setting: "NOETL_SERVER_URL",
    credentials: "NOETL_TOKEN",
    authority: serverAuthority,
    caSetting: "NOETL_CA_FILE",
    ...(token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` }),
  }));
}

function partOf(component: ComponentKind, settings: HealthSettings, view: PlatformView): Part {
  const { timeoutMs, version, databaseUrl, nats } = settings;
  switch (component) {
    case "postgresql":
      return one(
        databaseUrl === undefined
          ? secondHandCheck(view, component, "DATABASE_URL")
          : postgresqlCheck({ url: databaseUrl, timeoutMs }),
      );
    case "nats":
      return one(
        nats === undefined
          ? secondHandCheck(view, component, "NATS_URL")
          : natsCheck({ ...nats, timeoutMs }, view),
      );
    case "server":
      return { checks: serverChecks(view, version) };
    case "grpc":
      return grpcPart(settings);
    case "pool":
      return one(poolsCheck(view, expectedPools(settings)));
    case "victoriametrics":
      return ifGiven(metricsService(settings), (service) => victoriametricsCheck(service, view));
    case "victorialogs":
      return logsPart(settings);
    case "vmalert":
      return ifGiven(serviceOf("vmalert", "VMALERT", settings.vmalertUrl), vmalertCheck);
    case "vector":
      return vectorPart(settings);
    case "grafana":
      return ifGiven(grafanaService(settings), grafanaCheck);
  }
}

function one(check: Check): Part {
  return { checks: [check] };
}

type Named = Service | { readonly missing: string };

function ifGiven(service: Named, make: (service: Service) => Check): Part {
  return "missing" in service ? { unconfigured: service.missing } : one(make(service));
}

/** @param word the middle of its setting's name. */
function serviceOf(name: string, word: string, url: Secret | undefined): Named {
  const setting = `NOETL_${word}_URL`;
  return url === undefined ? { missing: setting } : { name, url: url.reveal(), setting };
}

function metricsService({ victoriametricsUrl }: HealthSettings): Named {
  return serviceOf("VictoriaMetrics", "VICTORIAMETRICS", victoriametricsUrl);
}

function logsPart(settings: HealthSettings): Part {
  const metrics = metricsService(settings);
  return ifGiven(serviceOf("VictoriaLogs", "VICTORIALOGS", settings.victorialogsUrl), (service) =>
    victorialogsCheck({
      service,
      filter: settings.logsFilter,
      metrics: "missing" in metrics ? undefined : metrics,
    }),
  );
}

function vectorPart({ vectorUrl, vectorMetricsUrl }: HealthSettings): Part {
  const api = serviceOf("Vector", "VECTOR", vectorUrl);
  const metrics = serviceOf("Vector", "VECTOR_METRICS", vectorMetricsUrl);
  return "missing" in api && "missing" in metrics
    ? { unconfigured: `${api.missing} or ${metrics.missing}` }
    : one(
        vectorCheck({
          api: "missing" in api ? undefined : api,
          metrics: "missing" in metrics ? undefined : metrics,
        }),
      );
}

function grafanaService(settings: HealthSettings): Named {
  const { grafanaUrl, grafanaToken, grafanaUser, grafanaPassword } = settings;
  const service = serviceOf("Grafana", "GRAFANA", grafanaUrl);
  const basic =
    grafanaUser === undefined
      ? undefined
      : `Basic ${btoa(`${grafanaUser}:${grafanaPassword?.reveal() ?? ""}`)}`;
  const authorization = grafanaToken === undefined ? basic : `Bearer ${grafanaToken.reveal()}`;
  return {
    ...service,
    credentials: "NOETL_GRAFANA_TOKEN, or NOETL_GRAFANA_USER and NOETL_GRAFANA_PASSWORD",
    ...(authorization === undefined ? {} : { authorization }),
  };
}

/** Pools that are asked about by name must be there, too. */
function expectedPools({ pools, only }: HealthSettings): readonly string[] {
  const named = only.filter((name) => name.startsWith("pool/")).map((name) => name.slice(5));
  return [...new Set([...pools, ...named])];
}

/** The default ports of a server on this machine belong together; elsewhere nobody guesses. */
const DEFAULT_HTTP = /^http:\/\/(127\.0\.0\.1|localhost):8082\/*$/;

function grpcPart(settings: HealthSettings): Part {
  const { grpcAddresses: addresses, grpcTls: clientTls, timeoutMs } = settings;
  if (addresses.length > 0) {
    return { checks: grpcChecks({ addresses, clientTls, timeoutMs }) };
  }
  const host = DEFAULT_HTTP.exec(settings.serverUrls[0] ?? "")?.[1];
  return host === undefined
    ? { unconfigured: "NOETL_GRPC_ADDRESS" }
    : one(guessedGrpcCheck(`${host}:9082`, timeoutMs));
}
