/** What all dashboards have: variables, links, annotations, and panels laid out in rows. */
import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import type { DashboardUid } from "../names.ts";
import { DATASOURCES, PLUGINS } from "../names.ts";
import type { Panel } from "./panel.ts";
import { METRICS } from "./panel.ts";

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
  /** Closed until it is asked for: what seldom is. */
  readonly isClosed?: boolean;
}

export interface Variable {
  readonly name: string;
  readonly label: string;
  /** `label_values(…)`. */
  readonly query: string;
}

export interface DashboardSpec {
  readonly uid: DashboardUid;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Variable[];
  readonly rows: readonly Row[];
  readonly from?: string;
}

const TAG = "noetl";
const COLUMNS = 24;

export function makeDashboard(spec: DashboardSpec): dashboard.Dashboard {
  const { uid, title, description, variables, rows, from = "now-1h" } = spec;
  const made = new dashboard.DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags([TAG])
    .readonly()
    .timezone("browser")
    .time({ from, to: "now" })
    .refresh("30s")
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .variables([...sources(), ...variables.map(queryVariable), pageVariable()])
    .annotations([deploys(), firing()])
    .links([otherDashboards(), page()])
    .build();
  return { ...made, panels: layOut(rows) };
}

/**
 * The metrics' one is a list of uids: Grafana's own variable for data sources would show those of one plugin only, and
 * without a way to install plugins the fallback is to be chosen here.
 */
function sources() {
  const { metrics, fallback } = DATASOURCES;
  const choices = { VictoriaMetrics: metrics, Prometheus: fallback };
  const options = Object.entries(choices).map(([text, value]) => ({
    text,
    value,
    selected: value === metrics,
  }));
  return [
    new dashboard.CustomVariableBuilder("datasource")
      .label("Metrics")
      .values(
        Object.entries(choices)
          .map((pair) => pair.join(" : "))
          .join(", "),
      )
      .options(options)
      .current({ text: "VictoriaMetrics", value: metrics }),
    new dashboard.DatasourceVariableBuilder("logs").label("Logs").type(PLUGINS.logs),
  ];
}

/** Several values or all; `.*`, so that series without the label are among all. */
function queryVariable({ name, label, query }: Variable): dashboard.QueryVariableBuilder {
  return new dashboard.QueryVariableBuilder(name)
    .label(label)
    .datasource(METRICS)
    .query({ query, refId: name })
    .definition(query)
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .allValue(".*")
    .current({ text: "All", value: "$__all" });
}

/** The address of noetl's own page, for links. */
function pageVariable(): dashboard.TextBoxVariableBuilder {
  const address = "http://localhost:30082";
  return new dashboard.TextBoxVariableBuilder("page")
    .label("noetl page")
    .defaultValue(address)
    .current({ text: address, value: address });
}

/** A version that was not there five minutes before. */
function deploys(): dashboard.AnnotationQueryBuilder {
  const builds = (offset: string): string =>
    ["server", "worker"]
      .map((role) => `count by (job, version) (noetl_${role}_build_info${offset})`)
      .join(" or ");
  return annotation("Deploys", "blue", `(${builds("")}) unless (${builds(" offset 5m")})`)
    .titleFormat("Deploy: {{job}} {{version}}")
    .tagKeys("job,version");
}

/** As vmalert writes them. */
function firing(): dashboard.AnnotationQueryBuilder {
  const expr = 'count by (alertname, severity) (ALERTS{alertstate="firing"})';
  return annotation("Alerts", "red", expr).titleFormat("{{alertname}}").tagKeys("severity");
}

function annotation(name: string, color: string, expr: string): dashboard.AnnotationQueryBuilder {
  return new dashboard.AnnotationQueryBuilder()
    .name(name)
    .datasource(METRICS)
    .enable(true)
    .iconColor(color)
    .expr(expr)
    .step("60s");
}

function otherDashboards(): dashboard.DashboardLinkBuilder {
  return new dashboard.DashboardLinkBuilder("NoETL")
    .type(dashboard.DashboardLinkType.Dashboards)
    .tags([TAG])
    .asDropdown(false)
    .includeVars(true)
    .keepTime(true);
}

function page(): dashboard.DashboardLinkBuilder {
  return new dashboard.DashboardLinkBuilder("noetl page")
    .type(dashboard.DashboardLinkType.Link)
    .url("${page}/#/")
    .icon("external link")
    .targetBlank(true);
}

type Placed = Panel | dashboard.RowPanel;

interface Cursor {
  /** Of the next line of panels. */
  readonly y: number;
  /** Of the next row or panel. */
  readonly id: number;
  readonly placed: readonly Placed[];
}

/** Rows below each other. */
function layOut(rows: readonly Row[]): Placed[] {
  const start: Cursor = { y: 0, id: 1, placed: [] };
  return [...rows.reduce(addRow, start).placed];
}

/** What is closed takes one line, and holds its panels itself. */
function addRow({ y, id, placed }: Cursor, { title, panels, isClosed = false }: Row): Cursor {
  const { places, bottom } = placePanels(panels, y + 1, id + 1);
  const row: dashboard.RowPanel = {
    type: "row",
    title,
    collapsed: isClosed,
    id,
    gridPos: { x: 0, y, w: COLUMNS, h: 1 },
    panels: isClosed ? places : [],
  };
  return {
    y: isClosed ? y + 1 : bottom,
    id: id + 1 + panels.length,
    placed: [...placed, row, ...(isClosed ? [] : places)],
  };
}

/** From left to right in the order given; a new line where a panel does not fit. */
function placePanels(panels: readonly Panel[], top: number, firstId: number) {
  const places: Panel[] = [];
  let [x, y, height] = [0, top, 0];
  for (const panel of panels) {
    const { w, h } = panel.gridPos ?? { w: COLUMNS, h: 8 };
    if (x + w > COLUMNS) {
      [x, y, height] = [0, y + height, 0];
    }
    places.push({ ...panel, id: firstId + places.length, gridPos: { x, y, w, h } });
    x += w;
    height = Math.max(height, h);
  }
  return { places, bottom: y + height };
}
