/** The same rules for Grafana's own alerting, with who is told: files of `provisioning/alerting`. */
import { stringify } from "yaml";
import { DATASOURCES, FOLDER } from "../names.ts";
import type { Alert, AlertGroup } from "./alert.ts";
import { textOf } from "./alert.ts";

const HEADER = "# Made from grafana/source/alerts by `bun run grafana`.\n";
const ORG = 1;
/** What the query looks back on, in seconds: an instant query needs none, Grafana wants one. */
const RANGE_SECONDS = 600;

export function grafanaRules(groups: readonly AlertGroup[], runbooks: string): string {
  const document = {
    apiVersion: 1,
    groups: groups.map(({ name, alerts }) => ({
      orgId: ORG,
      name,
      folder: FOLDER,
      interval: "30s",
      rules: alerts.map((alert) => rule(alert, runbooks)),
    })),
  };
  return HEADER + stringify(document, { lineWidth: 0 });
}

function rule(alert: Alert, runbooks: string) {
  const { name, severity, component, summary, description, dashboard, minutes } = alert;
  return {
    uid: uidOf(name),
    title: name,
    condition: "B",
    data: [query(alert), threshold(alert)],
    // No series: nothing is wrong. What should have some is watched by TargetMissing.
    noDataState: "OK",
    execErrState: "Error",
    for: `${minutes}m`,
    labels: { severity, component },
    annotations: {
      summary: textOf(summary, "$values.A.Value"),
      description: textOf(description, "$values.A.Value"),
      runbook_url: `${runbooks}/${name}.md`,
      dashboard: `/d/${dashboard}`,
    },
    isPaused: false,
  };
}

/** Stable, at most 40 characters: `noetl-server-down`. */
function uidOf(name: string): string {
  return `noetl${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function query({ expr }: Alert) {
  return {
    refId: "A",
    relativeTimeRange: { from: RANGE_SECONDS, to: 0 },
    datasourceUid: DATASOURCES.metrics,
    model: {
      refId: "A",
      expr: expr.replace(/\s*\n\s*/g, " ").trim(),
      instant: true,
      range: false,
      intervalMs: 15_000,
      maxDataPoints: 100,
    },
  };
}

function threshold({ above, below }: Alert) {
  const evaluator =
    above === undefined ? { type: "lt", params: [below] } : { type: "gt", params: [above] };
  return {
    refId: "B",
    relativeTimeRange: { from: 0, to: 0 },
    datasourceUid: "__expr__",
    model: {
      refId: "B",
      type: "threshold",
      expression: "A",
      datasource: { type: "__expr__", uid: "__expr__" },
      conditions: [{ type: "query", evaluator }],
    },
  };
}

/** One contact point: the Alertmanager that vmalert notifies, too. Without one, alerts are seen and told to nobody. */
export function contactPoints(): string {
  const settings = { url: "http://alertmanager:9093" };
  const receivers = [{ uid: "noetl-alertmanager", type: "prometheus-alertmanager", settings }];
  const document = { apiVersion: 1, contactPoints: [{ orgId: ORG, name: "noetl", receivers }] };
  return HEADER + stringify(document, { lineWidth: 0 });
}

/** Critical ones at once and again each hour, warnings together and twice a day. */
export function policies(): string {
  const document = {
    apiVersion: 1,
    policies: [
      {
        orgId: ORG,
        receiver: "noetl",
        group_by: ["grafana_folder", "alertname", "component"],
        group_wait: "30s",
        group_interval: "5m",
        repeat_interval: "12h",
        routes: [
          {
            receiver: "noetl",
            object_matchers: [["severity", "=", "critical"]],
            group_wait: "10s",
            group_interval: "1m",
            repeat_interval: "1h",
          },
        ],
      },
    ],
  };
  return HEADER + stringify(document, { lineWidth: 0 });
}
