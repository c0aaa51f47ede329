/** One dashboard as a page: Grafana's grid of 24 columns, drawn panels at their places. */
import type { Dashboard, Panel, RowPanel } from "@grafana/grafana-foundation-sdk/dashboard";
import { METRICS } from "../source/dashboards/panel.ts";
import type { Answers } from "./draw.ts";
import { draw, escapeText } from "./draw.ts";
import type { MetricsClient } from "./metrics.ts";

export const PAGE_WIDTH = 1680;

const MARGIN = 12;
const COLUMN = (PAGE_WIDTH - 2 * MARGIN) / 24;
/** As in Grafana: 30 pixels and a gap of 8. */
const LINE = 38;
const GAP = 8;
const HEADER = 96;
const TITLE = 28;

const STYLE = `
body{margin:0;background:#111217;color:#ccccdc;font:12px Inter,"DejaVu Sans",sans-serif;position:relative}
header{padding:12px 16px;height:${HEADER - 24}px}h1{font-size:18px;margin:0 0 4px}header span{margin-right:10px;padding:3px 8px;background:#22252b;border-radius:2px}
.row{position:absolute;font-size:15px;font-weight:500}.panel{position:absolute;background:#181b1f;border:1px solid #25282e;border-radius:2px;overflow:hidden;box-sizing:border-box}
.panel h2{font-size:12.5px;margin:0;padding:6px 8px;height:${TITLE - 12}px;font-weight:500;white-space:nowrap;overflow:hidden}.body{position:absolute;top:${TITLE}px;left:0;right:0;bottom:0;overflow:hidden}
.stats{display:flex;height:100%;gap:4px;padding:0 6px 6px;box-sizing:border-box}.stat{flex:1;position:relative;display:flex;flex-direction:column;align-items:center;justify-content:center;color:#fff;border-radius:2px;overflow:hidden;height:100%}
.stat svg{position:absolute;inset:0;width:100%;height:100%}.stat b{font-size:28px;white-space:nowrap}.stat span{font-size:11px;opacity:.9}
svg text{fill:#9fa7b3;font-size:10.5px}.legend{padding:0 8px;white-space:nowrap;overflow:hidden;height:20px}.legend span{margin-right:10px}.legend em{display:inline-block;width:12px;height:3px;margin-right:4px;vertical-align:middle}
.legend.side{position:absolute;top:0;right:0;width:36%;height:100%;white-space:normal}.legend.side span{display:block;margin:3px 0;white-space:nowrap;overflow:hidden}.legend i{float:right;margin-left:6px;font-style:normal;color:#fff}
.bar{display:flex;align-items:center;padding:3px 8px;gap:8px}.bar span{width:36%;overflow:hidden;white-space:nowrap;text-align:right}.bar em{height:14px}
table{border-collapse:collapse;width:100%}th{text-align:left;color:#6e9fff;font-weight:500;padding:5px 8px;border-bottom:1px solid #2c3235}td{padding:4px 8px;border-bottom:1px solid #22252b;white-space:nowrap}td.num{font-variant-numeric:tabular-nums}
.empty{color:#7b8087;text-align:center;margin-top:3em}code{font-size:11px;color:#8ab8ff}`;

export async function drawPage(dashboard: Dashboard, client: MetricsClient): Promise<string> {
  const placed = await Promise.all((dashboard.panels ?? []).map((one) => drawPlaced(one, client)));
  const bottom = Math.max(
    ...(dashboard.panels ?? []).map(({ gridPos }) => (gridPos?.y ?? 0) + (gridPos?.h ?? 0)),
  );
  const variables = (dashboard.templating?.list ?? []).map(
    ({ label, name, current }) =>
      `<span>${escapeText(label ?? name)}: ${escapeText(String(Object(current).text ?? ""))}</span>`,
  );
  const head = `<header><h1>${escapeText(dashboard.title ?? "")}</h1>${escapeText(dashboard.description ?? "")}<p>${variables.join("")}</p></header>`;
  return `<!doctype html><meta charset="utf-8"><style>${STYLE}</style><body style="height:${HEADER + bottom * LINE + 20}px">${head}${placed.join("")}</body>`;
}

async function drawPlaced(panel: Panel | RowPanel, client: MetricsClient): Promise<string> {
  const { x = 0, y = 0, w = 24, h = 1 } = panel.gridPos ?? {};
  const [left, top] = [MARGIN + x * COLUMN, HEADER + y * LINE];
  if (panel.type === "row") {
    const mark = Object(panel).collapsed === true ? "▸" : "▾";
    return `<div class="row" style="left:${left}px;top:${top + 8}px">${mark} ${escapeText(panel.title ?? "")}</div>`;
  }
  const box = {
    width: w * COLUMN - GAP,
    height: h * LINE - GAP - TITLE,
    from: client.from,
    to: client.to,
  };
  const one = panel as Panel;
  const drawn = draw(one, await answersOf(one, client), box);
  return `<div class="panel" title="${escapeText(one.description ?? "")}" style="left:${left}px;top:${top}px;width:${box.width}px;height:${box.height + TITLE}px"><h2>${escapeText(one.title ?? "")}</h2><div class="body">${drawn}</div></div>`;
}

async function answersOf({ targets = [] }: Panel, client: MetricsClient): Promise<Answers> {
  const asked = targets.filter((target) => Object(target).datasource?.uid === METRICS.uid);
  return await Promise.all(
    asked.map(async (target) => {
      const { expr, instant } = Object(target);
      return instant === true ? await client.instant(expr) : await client.range(expr);
    }),
  );
}
