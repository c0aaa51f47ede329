/** Grafana: up, and datasources and dashboards of this version provisioned. */
import { isJsonObject } from "../core/json.ts";
import type { Service } from "./ask.ts";
import { ask, askObject, notIt, readJson } from "./ask.ts";
import type { Check, CheckContext, Finding, Problem } from "./finding.ts";
import { CheckFailure, degraded } from "./finding.ts";
import { clipped, count, listText } from "./words.ts";

/** As grafana/provisioning has them. One of each line is enough. */
export const DATASOURCES = [["victoriametrics", "prometheus"], ["victorialogs"]] as const;
export const DASHBOARDS = [
  "noetl-server",
  "noetl-workers",
  "noetl-gpus",
  "noetl-executions",
  "noetl-platform",
] as const;

export interface GrafanaFacts {
  readonly version: string;
  /** Undefined: without credentials nobody may look. */
  readonly provisioned: Provisioned | undefined;
}

export interface Provisioned {
  /** By uid: why it does not work, or that it does. */
  readonly datasources: ReadonlyMap<string, DatasourceState>;
  readonly dashboards: ReadonlySet<string>;
}

export type DatasourceState =
  | { readonly isWell: true }
  | { readonly isWell: false; readonly reason: string };

export function grafanaCheck(service: Service): Check {
  return {
    component: "grafana",
    run: async (context) => {
      const { version, database } = await askObject(
        service,
        { path: "/api/health", accept: [503] },
        context,
      );
      if (typeof database !== "string") {
        throw notIt(service, "it does not answer /api/health as Grafana does");
      }
      if (database !== "ok") {
        throw new CheckFailure(
          `Grafana's own database is not well: ${database}`,
          "Read its log; its volume may be full or read-only.",
        );
      }
      const hasCredentials =
        service.authorization !== undefined || new URL(service.url).username !== "";
      const provisioned = hasCredentials ? await readProvisioned(service, context) : undefined;
      // Hidden from those who are not logged in.
      return [grafanaFinding({ version: typeof version === "string" ? version : "", provisioned })];
    },
  };
}

async function readProvisioned(service: Service, context: CheckContext): Promise<Provisioned> {
  const [datasources, dashboards] = await Promise.all([
    Promise.all(DATASOURCES.flat().map((uid) => readDatasource(service, uid, context))),
    Promise.all(DASHBOARDS.map((uid) => hasDashboard(service, uid, context))),
  ]);
  return {
    datasources: new Map(datasources.flat()),
    dashboards: new Set(dashboards.flat()),
  };
}

async function readDatasource(
  service: Service,
  uid: string,
  context: CheckContext,
): Promise<readonly (readonly [string, DatasourceState])[]> {
  const found = await ask(service, { path: `/api/datasources/uid/${uid}`, accept: [404] }, context);
  if (found.status === 404) {
    return [];
  }
  // 400 and 404: its plugin does not run, or cannot be asked this.
  const question = {
    path: `/api/datasources/uid/${uid}/health`,
    accept: [400, 404, 500, 502, 503],
  };
  const { status, text } = await ask(service, question, context);
  const body = readJson(text);
  const { message } = isJsonObject(body) ? body : {};
  const reason = clipped(typeof message === "string" ? message : `HTTP ${status}`, 120);
  return [[uid, status === 200 || status === 404 ? { isWell: true } : { isWell: false, reason }]];
}

async function hasDashboard(
  service: Service,
  uid: string,
  context: CheckContext,
): Promise<readonly string[]> {
  const { status } = await ask(
    service,
    { path: `/api/dashboards/uid/${uid}`, accept: [404] },
    context,
  );
  return status === 404 ? [] : [uid];
}

export function grafanaFinding({ version, provisioned }: GrafanaFacts): Finding {
  if (provisioned === undefined) {
    return {
      component: "grafana",
      summary:
        `${version} · up (NOETL_GRAFANA_TOKEN has datasources and dashboards looked at)`.replace(
          /^ · /,
          "",
        ),
      problems: [],
      facts: { version },
    };
  }
  const { datasources, dashboards } = provisioned;
  return {
    component: "grafana",
    summary: `${version} · ${count(datasources.size, "datasource")}, ${count(dashboards.size, "dashboard")}`,
    problems: [...datasourceProblems(datasources), ...dashboardProblems(dashboards)],
    facts: {
      version,
      datasources: [...datasources.keys()],
      dashboards: [...dashboards],
    },
  };
}

function datasourceProblems(datasources: Provisioned["datasources"]): readonly Problem[] {
  const missing = DATASOURCES.filter((uids) => !uids.some((uid) => datasources.has(uid)));
  const broken = [...datasources].flatMap(([uid, state]) =>
    state.isWell ? [] : [`${uid} (${state.reason})`],
  );
  return [
    ...(missing.length === 0
      ? []
      : [
          degraded(
            `Datasource ${missing.map((uids) => uids.join(" or ")).join(", ")} is missing`,
            "Mount grafana/provisioning/datasources, install the plugins that they need, and read its log.",
          ),
        ]),
    ...(broken.length === 0
      ? []
      : [
          degraded(
            `Datasource ${listText(broken)} does not work`,
            "Compare its URL in grafana/provisioning/datasources with where the service is.",
          ),
        ]),
  ];
}

function dashboardProblems(dashboards: Provisioned["dashboards"]): readonly Problem[] {
  const missing = DASHBOARDS.filter((uid) => !dashboards.has(uid));
  return missing.length === 0
    ? []
    : [
        degraded(
          `${count(missing.length, "dashboard is", "dashboards are")} missing: ${listText(missing, 5)}`,
          "Mount grafana/dashboards and grafana/provisioning/dashboards, and read its log.",
        ),
      ];
}
