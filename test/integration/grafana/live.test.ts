/**
 * Dashboards and alerts on a running platform: real PostgreSQL, NATS, server, workers, VictoriaMetrics and vmalert. What is not to
 * be had here is a stand-in, listed in stand-ins.ts; what needs something to happen first is listed in quiet.ts.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { conditionOf } from "../../../grafana/source/alerts/alert.ts";
import { ALERT_GROUPS, ALERTS } from "../../../grafana/source/alerts/all.ts";
import { vmalertRules } from "../../../grafana/source/alerts/vmalert.ts";
import { ALL_DASHBOARDS } from "../../../grafana/source/dashboards/all.ts";
import { JOBS } from "../../../grafana/source/names.ts";
import type { Vmalert } from "../../support/victoria-metrics.ts";
import { noVictoriaMetrics, startVmalert } from "../../support/victoria-metrics.ts";
import { waitFor } from "../../support/wait.ts";
import { metricsIn } from "../../unit/grafana/metric-names.ts";
import { queriesOf } from "../../unit/grafana/panels.ts";
import { HAPPENS, ONLY_BAD } from "./quiet.ts";
import type { World } from "./world.ts";
import { PLAYBOOKS, startWorld } from "./world.ts";

/** As Grafana fills them in: all of each variable, windows that fit a scrape each second. */
function fillIn(expr: string): string {
  return expr
    .replaceAll("$__rate_interval", "10s")
    .replaceAll("$__range", "60s")
    .replaceAll(/\$(pool|server|worker|gpu|playbook)\b/g, ".*");
}

const SLOW = { deadlineMs: 60_000 };

describe.skipIf(noVictoriaMetrics !== undefined)("on a running platform", () => {
  let world: World;
  let vmalert: Vmalert;

  beforeAll(async () => {
    world = await startWorld();
    // As they are, but for a second instead of minutes.
    const rules = vmalertRules(ALERT_GROUPS, { runbooks: "docs", hold: "1s", interval: "1s" });
    vmalert = await startVmalert(world.dir, world.metrics, rules);
    for (const content of Object.values(PLAYBOOKS)) {
      await world.api.register(content);
    }
  }, 90_000);

  afterAll(async () => {
    await vmalert?.[Symbol.asyncDispose]();
    await world?.[Symbol.asyncDispose]();
  }, 60_000);

  const run = async (): Promise<void> => {
    const { api } = world;
    await Promise.all([api.execute("shop/orders"), api.execute("shop/invoices")]);
  };

  test("every query of every panel has data, or waits for something that has not happened", async () => {
    const { api } = world;
    const cancelled = await api.execute("models/train");
    await waitFor(
      "the first GPU to be held",
      async () => await hasData("noetl_pool_gpu_leases > 0"),
    );
    await api.call("POST", `/api/executions/${cancelled}/cancel`, {});
    await api.execute("models/train");
    const asked = ALL_DASHBOARDS.flatMap((one) =>
      queriesOf(one).map((each) => ({ ...each, name: `${one.uid}: ${each.panel}` })),
    );
    let left = asked.filter(({ expr, panel }) => !mayBeEmpty(expr) && !(panel in ONLY_BAD));
    expect(left.length).toBeGreaterThan(100);
    await waitFor(
      "data for every panel",
      async () => {
        await run();
        left = await withoutData(left);
        return left.length === 0;
      },
      SLOW,
    ).catch((error: unknown) => {
      throw new Error(left.map(({ name, expr }) => `${name}: ${expr}`).join("\n"), {
        cause: error,
      });
    });
    // The others are taken all the same.
    await withoutData(asked);
  }, 90_000);

  async function hasData(expr: string): Promise<boolean> {
    return (await world.metrics.query(fillIn(expr))).length > 0;
  }

  async function withoutData<Asked extends { readonly expr: string }>(
    asked: readonly Asked[],
  ): Promise<Asked[]> {
    const empty: Asked[] = [];
    for (const each of asked) {
      if (!(await hasData(each.expr))) {
        empty.push(each);
      }
    }
    return empty;
  }

  const mayBeEmpty = (expr: string): boolean => metricsIn(expr).some((name) => name in HAPPENS);

  test("what dashboards and alerts may be without is what they ask for, so that the list stays short", () => {
    const exprs = [...ALERTS, ...ALL_DASHBOARDS.flatMap((one) => queriesOf(one))];
    const asked = new Set(exprs.flatMap(({ expr }) => [...metricsIn(expr), ...bare(expr)]));
    expect(Object.keys(HAPPENS).filter((name) => !asked.has(name))).toEqual([]);
  });

  const bare = (expr: string): readonly string[] =>
    expr.match(/\b(?:probe|certmanager)_\w+/g) ?? [];

  test("every alert's expression is taken, and the metrics that it asks for are there", async () => {
    const missing: string[] = [];
    for (const alert of ALERTS) {
      await world.metrics.query(conditionOf(alert));
      for (const name of metricsIn(alert.expr)) {
        if (!(name in HAPPENS) && !(await hasData(`count(${name})`))) {
          missing.push(`${alert.name}: ${name}`);
        }
      }
    }
    expect(missing).toEqual([]);
  }, 60_000);

  test("each job of the dashboards and alerts is scraped", async () => {
    const up = await world.metrics.query("avg by (job) (up)");
    const jobs = up
      .filter(({ value }) => value[1] === "1")
      .map(({ metric }) => metric["job"] ?? "");
    expect(JOBS.filter((job) => !jobs.includes(job))).toEqual([]);
  });

  const pool = { pool: "cpu-01" };
  const fires = async (name: string, labels: Readonly<Record<string, string>> = {}) =>
    await waitFor(`${name} to fire`, () => vmalert.isFiring(name, labels), SLOW);
  const ends = async (name: string, labels: Readonly<Record<string, string>> = {}) =>
    await waitFor(`${name} to end`, () => !vmalert.isFiring(name, labels), SLOW);

  test("alerts fire when the worker is killed and work piles up, and when NATS is stopped, and they end", async () => {
    const { api, sql, worker, nats } = world;
    const quiet = ["PoolWithoutWorkers", "WorkerDown", "NatsDown", "RelayStuck", "ServerDown"];
    expect(quiet.filter((name) => vmalert.isFiring(name))).toEqual([]);

    await worker.kill();
    await Promise.all(Array.from({ length: 120 }, () => api.execute("shop/pings")));
    await fires("PoolWithoutWorkers", pool);
    await fires("WorkerDown", { job: "noetl-worker", ...pool });
    await fires("ConsumerBacklogGrowing", pool);
    await fires("WorkerHeartbeatMissing", pool);

    await nats.kill();
    await api.execute("shop/pings");
    await fires("NatsDown");
    await fires("NatsDisconnected", { job: "noetl-server" });
    await fires("RelayStuck");

    await Promise.all([nats.start(), worker.start()]);
    for (const name of ["NatsDown", "NatsDisconnected", "RelayStuck", "WorkerDown"]) {
      await ends(name);
    }
    await ends("PoolWithoutWorkers", pool);
    await ends("ConsumerBacklogGrowing", pool);
    // Housekeeping forgets the dead worker five minutes after its last heartbeat. As if they were over:
    await sql`DELETE FROM noetl.worker WHERE heartbeat_at < now() - interval '15 seconds'`;
    await ends("WorkerHeartbeatMissing", pool);
  }, 180_000);

  test("what is told has values, labels and the address of a page in it", () => {
    const told = vmalert.notices();
    expect(told.map((one) => one.name)).toContain("PoolWithoutWorkers");
    const texts = told.flatMap(({ annotations }) => Object.values(annotations));
    // The template's own signs of something that is not there.
    expect(texts.filter((text) => /<no value>|%!|\{\{|NaN/.test(text))).toEqual([]);
    const notice = told.find((one) => one.name === "PoolWithoutWorkers");
    expect(notice?.annotations["summary"]).toMatch(/^[\d.]+ commands wait for pool cpu-01,/);
    expect(notice?.annotations["runbook_url"]).toBe("docs/PoolWithoutWorkers.md");
    expect(notice?.labels).toMatchObject({ severity: "critical", component: "workers" });
  });
});
