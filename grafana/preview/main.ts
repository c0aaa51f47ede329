/**
 * `bun run grafana:preview --metrics URL [--out DIR] [--minutes N]`: every dashboard as HTML with live values, and as PNG where
 * Chromium is installed. The layout, queries, units and thresholds are the JSON's; the drawing is our own.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { ALL_DASHBOARDS } from "../source/dashboards/all.ts";
import { connectMetrics } from "./metrics.ts";
import { drawPage, PAGE_WIDTH } from "./page.ts";

const CHROMIUM = "/usr/bin/chromium";
const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const { values } = parseArgs({
  options: {
    metrics: { type: "string", default: "http://127.0.0.1:8428" },
    out: { type: "string", default: "dist/grafana-preview" },
    minutes: { type: "string", default: "15" },
  },
});
const client = connectMetrics(values.metrics, Number(values.minutes) * 60);
const pages: string[] = [];
for (const dashboard of ALL_DASHBOARDS) {
  const path = join(values.out, `${dashboard.uid}.html`);
  await Bun.write(path, await drawPage(dashboard, client));
  pages.push(path);
  console.log(path);
}
if (existsSync(CHROMIUM)) {
  await photograph(pages);
} else {
  console.log(`No pictures: there is no ${CHROMIUM} (apt-get install chromium)`);
}

async function photograph(paths: readonly string[]): Promise<void> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_FLAGS });
  try {
    const page = await browser.newPage({ viewport: { width: PAGE_WIDTH, height: 900 } });
    for (const path of paths) {
      await page.goto(Bun.pathToFileURL(path).href);
      const picture = path.replace(/html$/, "png");
      await page.screenshot({ path: picture, fullPage: true });
      console.log(picture);
    }
  } finally {
    await browser.close();
  }
}
