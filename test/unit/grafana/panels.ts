/** What a dashboard asks for. */
import type { Dashboard, Panel } from "@grafana/grafana-foundation-sdk/dashboard";
import { LOGS, METRICS } from "../../../grafana/source/dashboards/panel.ts";

/** All panels but rows, those of closed rows too. */
export function panelsOf({ panels = [] }: Dashboard): readonly Panel[] {
  return panels.flatMap((one) => {
    if ("panels" in one && one.type === "row") {
      return one.panels;
    }
    return "fieldConfig" in one || "targets" in one ? [one as Panel] : [];
  });
}

export interface PanelQuery {
  readonly panel: string;
  readonly kind: string;
  readonly expr: string;
  readonly legend: string;
}

/** Queries of metrics; LogsQL is not among them. */
export function queriesOf(dashboard: Dashboard): readonly PanelQuery[] {
  return panelsOf(dashboard).flatMap((panel) =>
    (panel.targets ?? []).flatMap((target) => {
      const { expr, legendFormat = "", datasource } = Object(target);
      return datasource?.uid === METRICS.uid
        ? [{ panel: panel.title ?? "", kind: panel.type, expr, legend: legendFormat }]
        : [];
    }),
  );
}

/** LogsQL. */
export function logQueriesOf(dashboard: Dashboard): readonly string[] {
  return panelsOf(dashboard).flatMap((panel) =>
    (panel.targets ?? []).flatMap((target) => {
      const { expr, datasource } = Object(target);
      return datasource?.uid === LOGS.uid ? [String(expr)] : [];
    }),
  );
}
