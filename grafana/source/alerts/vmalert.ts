/** The rules of vmalert; Prometheus reads the same file. */
import { stringify } from "yaml";
import type { Alert, AlertGroup } from "./alert.ts";
import { conditionOf, textOf } from "./alert.ts";

export interface RuleOptions {
  /** Pages of the alerts are at `<runbooks>/<name>.md`. */
  readonly runbooks: string;
  /** For tests: in place of each alert's own minutes. */
  readonly hold?: string;
  /** How often rules are evaluated; default 30s. */
  readonly interval?: string;
}

const HEADER = "# Made from grafana/source/alerts by `bun run grafana`.\n";

export function vmalertRules(groups: readonly AlertGroup[], options: RuleOptions): string {
  const document = {
    groups: groups.map(({ name, alerts }) => ({
      name,
      interval: options.interval ?? "30s",
      rules: alerts.map((alert) => rule(alert, options)),
    })),
  };
  return HEADER + stringify(document, { lineWidth: 0 });
}

function rule(alert: Alert, { runbooks, hold }: RuleOptions) {
  const { name, severity, component, summary, description, dashboard, minutes } = alert;
  return {
    alert: name,
    expr: conditionOf(alert),
    for: hold ?? `${minutes}m`,
    labels: { severity, component },
    annotations: {
      summary: textOf(summary, "$value"),
      description: textOf(description, "$value"),
      runbook_url: `${runbooks}/${name}.md`,
      // Below the address of Grafana, which only the notifier knows.
      dashboard: `/d/${dashboard}`,
    },
  };
}
