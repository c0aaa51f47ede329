/** Panels as SVG and HTML: layout, values, units, thresholds and legends as Grafana shows them, more or less. */
import type { Panel } from "@grafana/grafana-foundation-sdk/dashboard";
import type { Line } from "./metrics.ts";
import { withUnit } from "./units.ts";

/** What the panel's queries gave, in their order. */
export type Answers = readonly (readonly Line[])[];

export interface Box {
  readonly width: number;
  readonly height: number;
  /** Unix seconds at its left and right edge. */
  readonly from: number;
  readonly to: number;
}

const PALETTE = [
  "#73bf69",
  "#f2cc0c",
  "#8ab8ff",
  "#ff780a",
  "#f2495c",
  "#5794f2",
  "#b877d9",
  "#705da0",
  "#37872d",
  "#fade2a",
];
const COLORS: Readonly<Record<string, string>> = {
  green: "#1a7f4b",
  orange: "#d9730d",
  yellow: "#c9a400",
  red: "#c4262e",
  blue: "#1f60c4",
  text: "#3a3f47",
};

export const escapeText = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

interface Defaults {
  readonly unit?: string;
  readonly decimals?: number;
  readonly noValue?: string;
  readonly max?: number;
  readonly thresholds?: { readonly steps: readonly { value: number | null; color: string }[] };
  readonly mappings?: readonly { options: Readonly<Record<string, { text: string }>> }[];
  readonly custom?: {
    readonly stacking?: { mode: string };
    readonly thresholdsStyle?: { mode: string };
  };
}

const defaultsOf = (panel: Panel): Defaults => Object(panel.fieldConfig?.defaults);

export function draw(panel: Panel, answers: Answers, box: Box): string {
  switch (panel.type) {
    case "stat":
      return drawStat(panel, answers, box);
    case "timeseries":
      return drawLines(panel, answers, box);
    case "bargauge":
      return drawBars(panel, answers, box);
    case "table":
      return drawTable(panel, answers);
    case "state-timeline":
      return drawStates(panel, answers, box);
    default:
      return `<div class="empty">${panel.type}: VictoriaLogs<br><code>${escapeText(String(Object(panel.targets?.[0]).expr))}</code></div>`;
  }
}

function colorOf(value: number, { thresholds }: Defaults): string {
  const step = thresholds?.steps.findLast((one) => one.value === null || value >= one.value);
  return COLORS[step?.color ?? "text"] ?? "#444";
}

function textOf(value: number, defaults: Defaults): string {
  const mapped = defaults.mappings?.[0]?.options[String(value)]?.text;
  return mapped ?? withUnit(value, defaults.unit, defaults.decimals);
}

const lastOf = ({ points }: Line): number => points.at(-1)?.[1] ?? Number.NaN;

function nameOf(panel: Panel, index: number, { labels }: Line): string {
  const legend = String(Object(panel.targets?.[index]).legendFormat ?? "");
  if (legend === "") {
    return (
      Object.entries(labels)
        .map(([name, value]) => `${name}="${value}"`)
        .join(", ") || "value"
    );
  }
  return legend.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => labels[name] ?? "");
}

function drawStat(panel: Panel, answers: Answers, { width, height }: Box): string {
  const defaults = defaultsOf(panel);
  const all = answers.flatMap((lines, index) =>
    lines.map((line) => ({ line, name: nameOf(panel, index, line) })),
  );
  if (all.length === 0) {
    return `<div class="stat" style="background:#3a3f47"><b>${escapeText(defaults.noValue ?? "No data")}</b></div>`;
  }
  const size = Math.min(height * 0.4, (width / all.length) * 0.17);
  return `<div class="stats">${all
    .map(({ line, name }) => {
      const value = lastOf(line);
      const label = all.length > 1 ? `<span>${escapeText(name)}</span>` : "";
      const text = escapeText(textOf(value, defaults));
      return `<div class="stat" style="background:${colorOf(value, defaults)}"><b style="font-size:${size}px">${text}</b>${label}${spark(line, width, height)}</div>`;
    })
    .join("")}</div>`;
}

function spark({ points }: Line, width: number, height: number): string {
  if (points.length < 3) {
    return "";
  }
  const values = points.map(([, value]) => value).filter(Number.isFinite);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const span = high - low || 1;
  const path = points
    .map(
      ([, value], index) =>
        `${(index / (points.length - 1)) * width},${height - ((value - low) / span) * height * 0.3}`,
    )
    .join(" ");
  return `<svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none"><polyline points="${path}" fill="none" stroke="#ffffff66" stroke-width="2"/></svg>`;
}

function drawLines(panel: Panel, answers: Answers, { width, height, from, to }: Box): string {
  const defaults = defaultsOf(panel);
  const isTable = Object(panel.options).legend?.placement === "right";
  const all = answers.flatMap((lines, index) =>
    lines.map((line) => ({ line, name: nameOf(panel, index, line) })),
  );
  if (all.length === 0) {
    return `<div class="empty">${escapeText(defaults.noValue ?? "No data")}</div>`;
  }
  const isStacked = defaults.custom?.stacking?.mode === "normal";
  const series = isStacked ? stack(all.map(({ line }) => line)) : all.map(({ line }) => line);
  const plot = {
    x: 62,
    y: 6,
    w: width - 74 - (isTable ? width * 0.36 : 0),
    h: height - (isTable ? 24 : 44),
  };
  const values = series
    .flatMap(({ points }) => points.map(([, value]) => value))
    .filter(Number.isFinite);
  const high = defaults.max ?? (Math.max(...values, 0) * 1.1 || 1);
  const at = (time: number, value: number): string =>
    `${(plot.x + ((time - from) / (to - from || 1)) * plot.w).toFixed(1)},${(plot.y + plot.h - (Math.min(value, high) / high) * plot.h).toFixed(1)}`;
  const grid = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const y = plot.y + plot.h * (1 - share);
    return `<line x1="${plot.x}" x2="${plot.x + plot.w}" y1="${y}" y2="${y}" stroke="#2c3235"/><text x="${plot.x - 6}" y="${y + 4}" text-anchor="end">${escapeText(withUnit(high * share, defaults.unit, undefined))}</text>`;
  });
  const limits =
    defaults.custom?.thresholdsStyle?.mode === "dashed"
      ? (defaults.thresholds?.steps ?? [])
          .filter((step) => step.value !== null && step.value <= high)
          .map((step) => {
            const y = plot.y + plot.h * (1 - Number(step.value) / high);
            return `<line x1="${plot.x}" x2="${plot.x + plot.w}" y1="${y}" y2="${y}" stroke="${COLORS[step.color]}" stroke-dasharray="6 4"/>`;
          })
      : [];
  const paths = series.map(({ points }, index) => {
    const known = points.filter(([, value]) => Number.isFinite(value));
    const line = known.map(([time, value]) => at(time, value)).join(" ");
    const color = PALETTE[index % PALETTE.length];
    return `<polyline points="${line}" fill="none" stroke="${color}" stroke-width="1.5"/>`;
  });
  const legend = all.map(({ line, name }, index) => {
    const color = PALETTE[index % PALETTE.length];
    const last = isTable
      ? `<i>${escapeText(withUnit(lastOf(line), defaults.unit, defaults.decimals))}</i>`
      : "";
    return `<span><em style="background:${color}"></em>${escapeText(name)}${last}</span>`;
  });
  return `<svg width="${width}" height="${height - (isTable ? 0 : 22)}">${[...grid, ...limits, ...paths].join("")}</svg><div class="${isTable ? "legend side" : "legend"}">${legend.join("")}</div>`;
}

function stack(lines: readonly Line[]): Line[] {
  const sums = new Map<number, number>();
  return lines.map(({ labels, points }) => ({
    labels,
    points: points.map(([time, value]) => {
      const sum = (sums.get(time) ?? 0) + (Number.isFinite(value) ? value : 0);
      sums.set(time, sum);
      return [time, sum] as const;
    }),
  }));
}

function drawBars(panel: Panel, answers: Answers, { width }: Box): string {
  const defaults = defaultsOf(panel);
  const all = (answers[0] ?? [])
    .map((line) => ({ name: nameOf(panel, 0, line), value: lastOf(line) }))
    .toSorted((a, b) => b.value - a.value);
  const high = Math.max(...all.map(({ value }) => value), 1e-9);
  const bars = all.map(({ name, value }) => {
    const color = colorOf(value, defaults);
    const share = Math.max(1, (value / high) * (width * 0.45));
    return `<div class="bar"><span>${escapeText(name)}</span><em style="width:${share}px;background:${color}"></em><b style="color:#ccc">${escapeText(textOf(value, defaults))}</b></div>`;
  });
  return bars.length === 0 ? '<div class="empty">No data</div>' : bars.join("");
}

interface Organize {
  readonly renameByName: Readonly<Record<string, string>>;
  readonly indexByName: Readonly<Record<string, number>>;
}

function drawTable(panel: Panel, answers: Answers): string {
  const organize = panel.transformations?.find((one) => one.id === "organize");
  const { renameByName = {}, indexByName = {} }: Partial<Organize> = Object(organize?.options);
  const columns = Object.keys(indexByName);
  const rows = new Map<string, Record<string, number | string>>();
  for (const [index, lines] of answers.entries()) {
    for (const line of lines) {
      const key = JSON.stringify(Object.entries(line.labels).toSorted());
      const row = rows.get(key) ?? { ...line.labels };
      rows.set(key, { ...row, [`Value #${"ABCDEFGHIJ"[index]}`]: lastOf(line) });
    }
  }
  const head = columns.map((name) => `<th>${escapeText(renameByName[name] ?? name)}</th>`).join("");
  const body = [...rows.values()].map((row) => {
    const cells = columns.map((name) => cell(panel, renameByName[name] ?? name, row[name]));
    return `<tr>${cells.join("")}</tr>`;
  });
  return answers.length === 0 || columns.length === 0
    ? `<div class="empty">VictoriaLogs<br><code>${escapeText(String(Object(panel.targets?.[0]).expr))}</code></div>`
    : `<table><tr>${head}</tr>${body.join("")}</table>`;
}

function cell(panel: Panel, title: string, value: number | string | undefined): string {
  if (typeof value !== "number") {
    return `<td>${escapeText(value ?? "")}</td>`;
  }
  const override = panel.fieldConfig?.overrides.find((one) => one.matcher.options === title);
  const properties = Object.fromEntries(
    (override?.properties ?? []).map(({ id, value: set }) => [id, set]),
  );
  const text = escapeText(
    withUnit(value, Object(properties)["unit"], Object(properties)["decimals"]),
  );
  const thresholds = Object(properties)["thresholds"];
  const color =
    thresholds === undefined ? "" : ` style="background:${colorOf(value, { thresholds })}"`;
  return `<td class="num"${color}>${text}</td>`;
}

function drawStates(panel: Panel, answers: Answers, { width, height, from, to }: Box): string {
  const defaults = defaultsOf(panel);
  const lines = answers[0] ?? [];
  const step = Math.min(26, (height - 30) / Math.max(1, lines.length));
  const rows = lines.map((line, index) => {
    const cells = line.points.map(([time, value], at) => {
      const next = line.points[at + 1]?.[0] ?? to;
      const x = 110 + ((time - from) / (to - from || 1)) * (width - 120);
      const w = ((next - time) / (to - from || 1)) * (width - 120) + 0.5;
      return `<rect x="${x}" y="${index * step + 6}" width="${w}" height="${step - 5}" fill="${colorOf(value, defaults)}"/>`;
    });
    return `<text x="4" y="${index * step + step / 2 + 8}">${escapeText(nameOf(panel, 0, line))}</text>${cells.join("")}`;
  });
  return `<svg width="${width}" height="${height}">${rows.join("")}</svg>`;
}
