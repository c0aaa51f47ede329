/**
 * Panels in few words. Each builder gives one of Grafana's panels without its place; {@link layOut} gives places.
 *
 * In queries, `$pool` and other variables are Grafana's; windows of rates are `$__rate_interval`.
 */
import type { Builder } from "@grafana/grafana-foundation-sdk/cog";
import type * as common from "@grafana/grafana-foundation-sdk/common";
import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import { DataqueryBuilder, PromQueryFormat } from "@grafana/grafana-foundation-sdk/prometheus";

export type Panel = dashboard.Panel;

/** The data source that the dashboard's variable names; its plugin follows from that. */
export const METRICS = { uid: "${datasource}" } as const;

/** VictoriaLogs, by the dashboard's second data source. */
export const LOGS = { uid: "${logs}" } as const;

export interface Query {
  readonly expr: string;
  /** Labels as `{{pool}}`. */
  readonly legend?: string;
}

/** What all panels have. */
export interface PanelSpec {
  readonly title: string;
  /** What is shown and what to make of it. Shown at the panel's corner. */
  readonly description: string;
  /** Columns of 24, rows of some 30 pixels. */
  readonly size: readonly [width: number, height: number];
  /** As Grafana names it: `s`, `bytes`, `percentunit`, `short`, … */
  readonly unit?: string;
  readonly decimals?: number;
  readonly min?: number;
  readonly max?: number;
  readonly steps?: Steps;
  /** Opened by a click on a value or on the panel's corner. */
  readonly link?: Link;
}

export interface Link {
  readonly title: string;
  readonly url: string;
}

/** Colors from below to above: that of the first holds below the second's value. */
export type Steps = readonly [
  first: readonly [undefined, Color],
  ...rest: readonly (readonly [number, Color])[],
];

export type Color = "green" | "yellow" | "orange" | "red" | "blue" | "text";

/** Green, then orange, then red. */
export const rising = (warn: number, bad: number): Steps => [
  [undefined, "green"],
  [warn, "orange"],
  [bad, "red"],
];

/** Red, then orange, then green. */
export const falling = (bad: number, warn: number): Steps => [
  [undefined, "red"],
  [bad, "orange"],
  [warn, "green"],
];

/** Red from the first on. */
export const none: Steps = [
  [undefined, "green"],
  [1, "red"],
];

/** Neither good nor bad. */
export const plain: Steps = [[undefined, "blue"]];

/** What the builders of all kinds of panels have in common. */
interface CommonBuilder extends Builder<Panel> {
  title(title: string): this;
  description(description: string): this;
  datasource(datasource: common.DataSourceRef): this;
  span(width: number): this;
  height(height: number): this;
  unit(unit: string): this;
  decimals(decimals: number): this;
  min(min: number): this;
  max(max: number): this;
  thresholds(thresholds: Builder<dashboard.ThresholdsConfig>): this;
  colorScheme(color: Builder<dashboard.FieldColor>): this;
  dataLinks(links: Builder<dashboard.DashboardLink>[]): this;
  links(links: Builder<dashboard.DashboardLink>[]): this;
}

/** Sets what all have; gives the builder back. */
export function describe<One extends CommonBuilder>(builder: One, spec: PanelSpec): One {
  const { title, description, size, unit, decimals, min, max, steps = plain, link } = spec;
  builder.title(title).description(description).span(size[0]).height(size[1]).datasource(METRICS);
  builder.thresholds(thresholdsOf(steps));
  if (unit !== undefined) {
    builder.unit(unit);
  }
  if (decimals !== undefined) {
    builder.decimals(decimals);
  }
  if (min !== undefined) {
    builder.min(min);
  }
  if (max !== undefined) {
    builder.max(max);
  }
  if (link !== undefined) {
    builder.dataLinks([linkOf(link)]).links([linkOf(link)]);
  }
  return builder;
}

function thresholdsOf(steps: Steps): Builder<dashboard.ThresholdsConfig> {
  return new dashboard.ThresholdsConfigBuilder()
    .mode(dashboard.ThresholdsMode.Absolute)
    .steps(steps.map(([value, color]) => ({ value: value ?? null, color })));
}

function linkOf({ title, url }: Link): Builder<dashboard.DashboardLink> {
  return new dashboard.DashboardLinkBuilder(title).url(url).targetBlank(true);
}

/** The color of a value is that of its threshold. */
export function byThreshold(): Builder<dashboard.FieldColor> {
  return new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Thresholds);
}

const REF_IDS = "ABCDEFGHIJ";

/** Values over time. */
export function rangeQueries(queries: readonly Query[]) {
  return queries.map(({ expr, legend = "" }, index) =>
    new DataqueryBuilder()
      .refId(REF_IDS[index] ?? "Z")
      .datasource(METRICS)
      .expr(oneLine(expr))
      .legendFormat(legend)
      .range(),
  );
}

/** Values of now. */
export function instantQueries(queries: readonly Query[], format = PromQueryFormat.TimeSeries) {
  return queries.map(({ expr, legend = "" }, index) =>
    new DataqueryBuilder()
      .refId(REF_IDS[index] ?? "Z")
      .datasource(METRICS)
      .expr(oneLine(expr))
      .legendFormat(legend)
      .format(format)
      .instant(),
  );
}

function oneLine(expr: string): string {
  return expr.replace(/\s*\n\s*/g, " ").trim();
}
