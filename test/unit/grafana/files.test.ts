/** What is made from grafana/source is what is committed, and of a shape that Grafana takes. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { ALERTS } from "../../../grafana/source/alerts/all.ts";
import { ALL_DASHBOARDS } from "../../../grafana/source/dashboards/all.ts";
import { makeFiles } from "../../../grafana/source/files.ts";
import { DATASOURCES, JOBS } from "../../../grafana/source/names.ts";
import { metricsIn, unknownLabels } from "./metric-names.ts";
import { logQueriesOf, panelsOf, queriesOf } from "./panels.ts";

const ROOT = join(import.meta.dir, "../../..");

test("the committed files are current: `bun run grafana` makes them", () => {
  const old = [...makeFiles()].filter(
    ([path, text]) =>
      !existsSync(join(ROOT, path)) || readFileSync(join(ROOT, path), "utf8") !== text,
  );
  expect(old.map(([path]) => path)).toEqual([]);
});

test("addresses of the alerts' pages can be set", () => {
  const files = makeFiles({ runbooks: "https://docs/alerts" });
  const urls = [...files].flatMap(([path, text]) =>
    path.endsWith("rules.yaml") || path.endsWith("vmalert/noetl.yaml")
      ? (text.match(/runbook_url: https:\/\/docs\/alerts\/\w+\.md/g) ?? [])
      : [],
  );
  expect(urls).toHaveLength(2 * ALERTS.length);
});

describe.each(ALL_DASHBOARDS.map((one) => [one.uid ?? "", one] as const))(
  "%s",
  (_uid, dashboard) => {
    const panels = panelsOf(dashboard);

    test("every panel says what it shows, asks something, and has a unit or none on purpose", () => {
      const bad = panels.filter(
        ({ title, description, targets }) =>
          !title || (description ?? "").length < 10 || (targets ?? []).length === 0,
      );
      expect(bad.map((panel) => panel.title)).toEqual([]);
    });

    test("titles are used once in a row, ids once, and panels do not overlap", () => {
      const ids = panels.map((panel) => panel.id);
      expect(new Set(ids).size).toBe(ids.length);
      const cells = panels.flatMap(
        ({ gridPos: { x, y, w, h } = { x: 0, y: 0, w: 0, h: 0 }, id }) => {
          const isClosed = dashboard.panels?.some(
            (row) =>
              row.type === "row" && "panels" in row && row.panels.some((one) => one.id === id),
          );
          return isClosed
            ? []
            : Array.from(
                { length: w * h },
                (__, at) => `${x + (at % w)}:${y + Math.floor(at / w)}`,
              );
        },
      );
      expect(new Set(cells).size).toBe(cells.length);
      expect(panels.filter(({ gridPos }) => (gridPos?.x ?? 0) + (gridPos?.w ?? 0) > 24)).toEqual(
        [],
      );
    });

    test("series of several have a legend", () => {
      const bad = queriesOf(dashboard).filter(
        ({ expr, legend, kind }) => kind === "timeseries" && / by \(/.test(expr) && legend === "",
      );
      expect(bad).toEqual([]);
    });

    test("each metric of noetl in it exists and has the labels that are asked for", () => {
      expect(queriesOf(dashboard).flatMap(({ expr }) => unknownLabels(expr))).toEqual([]);
    });

    test("each variable in its queries is one of its own or Grafana's", () => {
      const own = (dashboard.templating?.list ?? []).map((variable) => variable.name);
      const known = [...own, "__rate_interval", "__range", "__interval"];
      const used = queriesOf(dashboard).flatMap(({ expr }) =>
        [...expr.matchAll(/\$\{?(\w+)/g)].map(([, name = ""]) => name),
      );
      expect(used.filter((name) => !known.includes(name))).toEqual([]);
    });
  },
);

test("each metric of noetl in an alert exists and has the labels that are asked for", () => {
  expect(ALERTS.flatMap(({ expr }) => unknownLabels(expr))).toEqual([]);
});

test("each metric of noetl in an alert's series exists, so that the proofs are about what there is", () => {
  const series = ALERTS.flatMap(({ proof }) => Object.keys({ ...proof.fires, ...proof.silent }));
  expect(series.flatMap((one) => unknownLabels(one))).toEqual([]);
});

test("jobs in queries are those that are scraped", () => {
  const exprs = [...ALERTS, ...ALL_DASHBOARDS.flatMap((one) => queriesOf(one))].map(
    ({ expr }) => expr,
  );
  const jobs = exprs.flatMap((expr) =>
    [...expr.matchAll(/job="([^"]+)"/g)].map(([, job = ""]) => job),
  );
  expect(jobs.length).toBeGreaterThan(10);
  expect(jobs.filter((job) => !JOBS.some((known) => known === job))).toEqual([]);
});

test("queries of logs select by fields that Vector makes streams of, and levels that it knows", () => {
  const vector = parse(readFileSync(join(ROOT, "deploy/vector/kubernetes.yaml"), "utf8"));
  const { headers } = vector.sinks.victorialogs.request;
  const streamFields: string[] = headers["VL-Stream-Fields"].split(",");
  const queries = ALL_DASHBOARDS.flatMap((one) => logQueriesOf(one));
  expect(queries.length).toBeGreaterThan(5);
  const fields = queries.flatMap((query) =>
    [...(/^\{(.*?)\}/.exec(query)?.[1] ?? "").matchAll(/(\w+)=/g)].map(([, name = ""]) => name),
  );
  expect(fields.filter((name) => !streamFields.includes(name))).toEqual([]);
  const apps = queries.flatMap((query) => query.match(/(?<=app=")[\w-]+/g) ?? []);
  expect(apps.filter((app) => !JOBS.some((job) => job === app))).toEqual([]);
  const levels = queries.flatMap((query) => query.match(/(?<=level:(?:=|in\())[\w, ]+/g) ?? []);
  expect(
    levels.flatMap((each) => each.split(", ")).filter((one) => !/^(warn|error)$/.test(one.trim())),
  ).toEqual([]);
});

test("Grafana's alerts ask a data source that is provisioned, and alert on what vmalert does", () => {
  const files = makeFiles();
  const sources = parse(files.get("grafana/provisioning/datasources/noetl.yaml") ?? "");
  const uids: string[] = sources.datasources.map((one: { uid: string }) => one.uid);
  expect(uids).toEqual(Object.values(DATASOURCES));
  const grafana = parse(files.get("grafana/provisioning/alerting/rules.yaml") ?? "");
  const rules: { uid: string; title: string; data: { datasourceUid: string }[] }[] =
    grafana.groups.flatMap((group: { rules: unknown }) => group.rules);
  expect(rules.map((rule) => rule.title)).toEqual(ALERTS.map((alert) => alert.name));
  expect(rules.filter(({ data }) => !uids.includes(data[0]?.datasourceUid ?? ""))).toEqual([]);
  expect(rules.filter(({ uid }) => uid.length > 40)).toEqual([]);
});

test("metrics of others are known to come from somewhere", () => {
  const exprs = [...ALERTS, ...ALL_DASHBOARDS.flatMap((one) => queriesOf(one))].map(
    ({ expr }) => expr,
  );
  const prefixes =
    /^(noetl|process|nodejs|pg|gnatsd|jetstream|vector|vl|vm|vmalert|kubelet_volume_stats|up$|ALERTS$|scrape_duration|probe_ssl|certmanager)/;
  expect(exprs.flatMap((expr) => metricsIn(expr)).filter((name) => !prefixes.test(name))).toEqual(
    [],
  );
});
