/** The kinds of panels that the dashboards are made of. */
import * as bargauge from "@grafana/grafana-foundation-sdk/bargauge";
import * as common from "@grafana/grafana-foundation-sdk/common";
import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import * as logs from "@grafana/grafana-foundation-sdk/logs";
import { PromQueryFormat } from "@grafana/grafana-foundation-sdk/prometheus";
import * as stat from "@grafana/grafana-foundation-sdk/stat";
import * as statetimeline from "@grafana/grafana-foundation-sdk/statetimeline";
import * as table from "@grafana/grafana-foundation-sdk/table";
import * as timeseries from "@grafana/grafana-foundation-sdk/timeseries";
import type { Link, Panel, PanelSpec, Query } from "./panel.ts";
import { byThreshold, describe, instantQueries, LOGS, rangeQueries } from "./panel.ts";

const last = (): common.ReduceDataOptionsBuilder =>
  new common.ReduceDataOptionsBuilder().calcs(["lastNotNull"]).values(false);

/** One number, with how it has been behind it. Words for values: `texts`. */
export function number(
  spec: PanelSpec & {
    readonly query: Query;
    readonly texts?: Readonly<Record<string, string>>;
    /** Shown when there are no series. */
    readonly none?: string;
  },
): Panel {
  const { query, texts, none: noValue = "–" } = spec;
  const builder = describe(new stat.PanelBuilder(), spec)
    .targets(rangeQueries([query]))
    .colorScheme(byThreshold())
    .colorMode(common.BigValueColorMode.Background)
    .graphMode(common.BigValueGraphMode.Area)
    .textMode(common.BigValueTextMode.Auto)
    .justifyMode(common.BigValueJustifyMode.Auto)
    .reduceOptions(last())
    .noValue(noValue);
  if (texts !== undefined) {
    builder.mappings([mapping(texts)]);
  }
  return builder.build();
}

/** One number for each series, side by side. */
export function numbers(
  spec: PanelSpec & {
    readonly query: Query;
    readonly texts?: Readonly<Record<string, string>>;
  },
): Panel {
  const builder = describe(new stat.PanelBuilder(), spec)
    .targets(instantQueries([spec.query]))
    .colorScheme(byThreshold())
    .colorMode(common.BigValueColorMode.Background)
    .graphMode(common.BigValueGraphMode.None)
    .textMode(common.BigValueTextMode.ValueAndName)
    .reduceOptions(last())
    .noValue("–");
  if (spec.texts !== undefined) {
    builder.mappings([mapping(spec.texts)]);
  }
  return builder.build();
}

function mapping(texts: Readonly<Record<string, string>>): dashboard.ValueMapping {
  const options = Object.entries(texts).map(([value, text], index) => [value, { text, index }]);
  return { type: dashboard.MappingType.ValueToText, options: Object.fromEntries(options) };
}

/** Lines over time; `stack` for parts of a whole. The threshold is drawn where there is one. */
export function lines(
  spec: PanelSpec & {
    readonly queries: readonly Query[];
    readonly stack?: boolean;
    /** `table`: with last and highest value of each, for series to be compared. */
    readonly legend?: "list" | "table";
  },
): Panel {
  const { queries, stack = false, legend = "list", steps } = spec;
  const builder = describe(new timeseries.PanelBuilder(), spec)
    .targets(rangeQueries(queries))
    .drawStyle(common.GraphDrawStyle.Line)
    .lineWidth(1)
    .fillOpacity(stack ? 30 : 8)
    .showPoints(common.VisibilityMode.Never)
    .spanNulls(false)
    .noValue("nothing in this time")
    .colorScheme(
      new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.PaletteClassicByName),
    )
    .stacking(
      new common.StackingConfigBuilder().mode(
        stack ? common.StackingMode.Normal : common.StackingMode.None,
      ),
    )
    .thresholdsStyle(
      new common.GraphThresholdsStyleConfigBuilder().mode(
        steps === undefined
          ? common.GraphThresholdsStyleMode.Off
          : common.GraphThresholdsStyleMode.Dashed,
      ),
    )
    .legend(legendOf(legend))
    .tooltip(
      new common.VizTooltipOptionsBuilder()
        .mode(common.TooltipDisplayMode.Multi)
        .sort(common.SortOrder.Descending),
    );
  if (spec.min === undefined) {
    builder.min(0);
  }
  return builder.build();
}

function legendOf(kind: "list" | "table"): common.VizLegendOptionsBuilder {
  const isTable = kind === "table";
  return new common.VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(isTable ? common.LegendDisplayMode.Table : common.LegendDisplayMode.List)
    .placement(isTable ? common.LegendPlacement.Right : common.LegendPlacement.Bottom)
    .calcs(isTable ? ["lastNotNull", "max"] : []);
}

/** One bar for each series, longest first. */
export function bars(spec: PanelSpec & { readonly query: Query }): Panel {
  return describe(new bargauge.PanelBuilder(), spec)
    .targets(instantQueries([spec.query]))
    .colorScheme(byThreshold())
    .orientation(common.VizOrientation.Horizontal)
    .displayMode(common.BarGaugeDisplayMode.Basic)
    .reduceOptions(last())
    .min(0)
    .build();
}

/** What state each was in, over time. */
export function states(
  spec: PanelSpec & { readonly query: Query; readonly texts: Readonly<Record<string, string>> },
): Panel {
  return describe(new statetimeline.PanelBuilder(), spec)
    .targets(rangeQueries([spec.query]))
    .colorScheme(byThreshold())
    .mappings([mapping(spec.texts)])
    .mergeValues(true)
    .rowHeight(0.8)
    .fillOpacity(80)
    .legend(legendOf("list"))
    .build();
}

export interface Column {
  readonly title: string;
  readonly expr: string;
  readonly unit?: string;
  readonly decimals?: number;
  /** Colors the cell. */
  readonly steps?: PanelSpec["steps"];
}

/** One row for each value of the labels; a column for each of them and for each query. */
export function rows(
  spec: PanelSpec & {
    /** By label; the first one carries the links. */
    readonly labels: Readonly<Record<string, string>>;
    readonly columns: readonly Column[];
    readonly links?: readonly Link[];
    /** Title of a column; the greatest first. */
    readonly sortBy: string;
  },
): Panel {
  const { labels, columns, links = [], sortBy } = spec;
  const queries = columns.map(({ expr }) => ({ expr }));
  const values = columns.map((column, index) => [valueName(index), column] as const);
  const builder = describe(new table.PanelBuilder(), spec)
    .targets(instantQueries(queries, PromQueryFormat.Table))
    .withTransformation({ id: "merge", options: {} })
    .withTransformation({
      id: "organize",
      options: {
        excludeByName: { Time: true },
        indexByName: order([...Object.keys(labels), ...values.map(([name]) => name)]),
        renameByName: {
          ...labels,
          ...Object.fromEntries(values.map(([name, { title }]) => [name, title])),
        },
      },
    })
    .cellHeight(common.TableCellHeight.Sm)
    .sortBy([new common.TableSortByFieldStateBuilder().displayName(sortBy).desc(true)]);
  for (const column of columns) {
    builder.overrideByName(column.title, propertiesOf(column));
  }
  const [first] = Object.values(labels);
  if (first !== undefined && links.length > 0) {
    const value = links.map((link) => ({ ...link, targetBlank: true }));
    builder.overrideByName(first, [{ id: "links", value }]);
  }
  return builder.build();
}

const valueName = (index: number): string => `Value #${"ABCDEFGHIJ"[index]}`;

function order(names: readonly string[]): Readonly<Record<string, number>> {
  return Object.fromEntries(names.map((name, index) => [name, index]));
}

function propertiesOf({ unit, decimals, steps }: Column): dashboard.DynamicConfigValue[] {
  const colored = steps?.map(([value, color]) => ({ value: value ?? null, color }));
  return [
    ...(unit === undefined ? [] : [{ id: "unit", value: unit }]),
    ...(decimals === undefined ? [] : [{ id: "decimals", value: decimals }]),
    ...(colored === undefined
      ? []
      : [
          { id: "thresholds", value: { mode: "absolute", steps: colored } },
          { id: "custom.cellOptions", value: { type: "color-background", mode: "basic" } },
        ]),
  ];
}

/** Lines of the log, the newest first. */
export function logLines(spec: PanelSpec & { readonly filter: string }): Panel {
  return describe(new logs.PanelBuilder(), spec)
    .datasource(LOGS)
    .targets([logQuery(spec.filter, "instant")])
    .showTime(true)
    .wrapLogMessage(true)
    .enableLogDetails(true)
    .sortOrder(common.LogsSortOrder.Descending)
    .build();
}

/** Lines by time, counted by LogsQL. */
export function logCounts(
  spec: PanelSpec & { readonly filter: string; readonly legend: string },
): Panel {
  const { filter, legend, ...rest } = spec;
  const panel = lines({ ...rest, queries: [], stack: true });
  const target = logQuery(filter, "statsRange", legend).build();
  return { ...panel, datasource: LOGS, targets: [target] };
}

/** A table of what LogsQL's `stats` gives. */
export function logTable(
  spec: PanelSpec & {
    readonly filter: string;
    readonly column: string;
    readonly links: readonly Link[];
  },
): Panel {
  const links = spec.links.map((link) => ({ ...link, targetBlank: true }));
  return describe(new table.PanelBuilder(), spec)
    .datasource(LOGS)
    .targets([logQuery(spec.filter, "stats")])
    .withTransformation({ id: "labelsToFields", options: { mode: "columns" } })
    .withTransformation({ id: "merge", options: {} })
    .withTransformation({ id: "organize", options: { excludeByName: { Time: true } } })
    .cellHeight(common.TableCellHeight.Sm)
    .overrideByName(spec.column, [{ id: "links", value: links }])
    .build();
}

/** A query of VictoriaLogs' plugin, which Grafana's own types do not know. */
function logQuery(expr: string, queryType: "instant" | "stats" | "statsRange", legendFormat = "") {
  const target = {
    refId: "A",
    datasource: LOGS,
    expr,
    queryType,
    maxLines: 200,
    ...(legendFormat === "" ? {} : { legendFormat }),
    _implementsDataqueryVariant: () => undefined,
  };
  return { build: () => target };
}
