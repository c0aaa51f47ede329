/**
 * `noetl health` and what watches the platform: the real VictoriaMetrics and vmalert, scraping a real server and worker,
 * and **stand-ins** of VictoriaLogs, Vector and Grafana with their documented answers.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Secret } from "../../../src/core/secret.ts";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import type { HealthSettings } from "../../../src/health/plan.ts";
import { planChecks } from "../../../src/health/plan.ts";
import { runChecks } from "../../../src/health/report.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import type { VictoriaMetrics } from "../../support/victoria-metrics.ts";
import {
  noVictoriaMetrics,
  startVictoriaMetrics,
  startVmalert,
} from "../../support/victoria-metrics.ts";
import { waitFor } from "../../support/wait.ts";
import type { World } from "./world.ts";
import {
  check,
  checkOne,
  LIMIT_MS,
  said,
  settingsOf,
  startGrafanaStandIn,
  startLogsStandIn,
  startSilence,
  startStandIn,
  startVectorStandIn,
  startWorld,
} from "./world.ts";

setDefaultTimeout(LIMIT_MS);

const NOWHERE = async () => new Secret(`http://127.0.0.1:${await findFreePort()}`);
const ago = (ms: number): string => new Date(Date.now() - ms).toISOString();

describe.skipIf(noVictoriaMetrics !== undefined)("VictoriaMetrics and vmalert", () => {
  let world: World;
  let metrics: VictoriaMetrics;

  beforeAll(async () => {
    world = await startWorld();
    metrics = await startVictoriaMetrics(makeScratchDir("metrics"), [
      { job: "noetl-server", address: world.serverTarget },
      { job: "noetl-worker", address: world.workerTarget },
    ]);
  });

  afterAll(async () => {
    await metrics[Symbol.asyncDispose]();
    await world[Symbol.asyncDispose]();
  });

  const find = async (url: string, given: Partial<HealthSettings> = {}) =>
    said(
      await checkOne("victoriametrics", {
        ...world.settings,
        victoriametricsUrl: new Secret(url),
        ...given,
      }),
    );

  const becomes = async (pattern: RegExp, url: string) =>
    await waitFor(String(pattern), async () => pattern.test(await find(url)), {
      deadlineMs: 30_000,
    });

  test("all well: scrapes servers and workers, series are fresh", async () => {
    await becomes(/^ok: scrapes 1 server and 1 worker · newest sample .+ old/, metrics.url);
    expect(await find(metrics.url)).toStartWith("ok: ");
  });

  test("down, another program, too slow", async () => {
    const nowhere = await NOWHERE();
    expect(await find(nowhere.reveal())).toContain(
      "nothing listens there (connection refused) → Start it, or correct NOETL_VICTORIAMETRICS_URL",
    );
    expect(await find(world.serverUrl)).toContain(
      "is no VictoriaMetrics (HTTP 404 for /api/v1/query)",
    );
    await using silence = startSilence();
    expect(await find(silence.url, { timeoutMs: 500 })).toContain(
      `No answer within 500 ms (waited for GET ${silence.url}/health)`,
    );
  });

  test("wrong password", async () => {
    await using guarded = startStandIn(() => new Response("no", { status: 401 }));
    const url = guarded.url.replace("://", "://reader:secret@");
    const text = await find(url);
    expect(text).toContain("refuses the credentials (HTTP 401: no)");
    expect(text).toContain("user:password@ in NOETL_VICTORIAMETRICS_URL");
    expect(text).not.toContain("secret@");
  });

  test("nothing of ours is scraped, and only servers are", async () => {
    await using empty = await startVictoriaMetrics(makeScratchDir("metrics"), []);
    expect(await find(empty.url)).toContain(
      "No target of job noetl-server and noetl-worker is scraped",
    );
    await using half = await startVictoriaMetrics(makeScratchDir("metrics"), [
      { job: "noetl-server", address: world.serverTarget },
    ]);
    await becomes(/degraded: No target of job noetl-worker is scraped/, half.url);
    expect(await find(half.url)).toContain("No target of job noetl-worker is scraped → Compare");
  });

  test("series are stale", async () => {
    await using stale = await startVictoriaMetrics(makeScratchDir("metrics"), []);
    const atMs = Date.now() - 20 * 60_000;
    await fetch(`${stale.url}/api/v1/import/prometheus?timestamp=${atMs}`, {
      method: "POST",
      body: 'noetl_server_build_info{version="0.1.0",job="noetl-server"} 1\n',
    });
    await becomes(/The servers' series are stale: the newest sample is 20 min old/, stale.url);
    expect(await find(stale.url)).toContain("Scrapes have stopped");
  });

  test("a target is down: the message has the scrape's own error", async () => {
    await using other = await startVictoriaMetrics(makeScratchDir("metrics"), [
      { job: "noetl-server", address: world.serverTarget },
      { job: "noetl-worker", address: `127.0.0.1:${await findFreePort()}` },
    ]);
    await becomes(
      /degraded: 1 target is down: noetl-worker 127\.0\.0\.1:\d+ \(.*connection refused/,
      other.url,
    );
    expect(await find(other.url)).toContain("Ask its /metrics from where VictoriaMetrics runs");
  });

  test("vmalert: well, then an alert fires, with its page", async () => {
    await using vmalert = await startVmalert(
      makeScratchDir("vmalert"),
      metrics,
      rules("vector(0) > 1"),
    );
    const settings = { ...world.settings, vmalertUrl: new Secret(vmalert.url) };
    expect(said(await checkOne("vmalert", settings))).toBe("ok: 1 rule · nothing fires");
    await using firing = await startVmalert(makeScratchDir("vmalert"), metrics, rules("vector(1)"));
    const fires = { ...settings, vmalertUrl: new Secret(firing.url) };
    const found = await waitFor("the alert", async () => {
      const health = await checkOne("vmalert", fires);
      return health.status !== "ok" && health;
    });
    expect(said(found)).toBe(
      "degraded: Firing: critical alert QueueStuck: pool cpu-01 waits → deploy/docs/alerts/QueueStuck.md says what to do.",
    );
    expect(found.facts).toMatchObject({ rules: 1, firing: [{ name: "QueueStuck" }] });
  });

  test("vmalert: rules that cannot be evaluated, none loaded, down, another program", async () => {
    const dead = { ...metrics, url: (await NOWHERE()).reveal() };
    await using blind = await startVmalert(makeScratchDir("vmalert"), dead, rules("vector(1)"));
    const settings = { ...world.settings, vmalertUrl: new Secret(blind.url) };
    const found = await waitFor("the error", async () => {
      const health = await checkOne("vmalert", settings);
      return health.status !== "ok" && health;
    });
    expect(said(found)).toMatch(/1 rule cannot be evaluated: QueueStuck \(.*connection refused/);
    await using empty = await startVmalert(makeScratchDir("vmalert"), metrics, "groups: []");
    const none = { ...settings, vmalertUrl: new Secret(empty.url) };
    expect(said(await checkOne("vmalert", none))).toContain("No rules are loaded");
    const gone = { ...settings, vmalertUrl: await NOWHERE() };
    expect(said(await checkOne("vmalert", gone))).toContain("No vmalert at");
    const wrong = { ...settings, vmalertUrl: new Secret(world.serverUrl) };
    expect(said(await checkOne("vmalert", wrong))).toContain("is no vmalert");
  });
});

function rules(expression: string): string {
  return `groups:
  - name: test
    interval: 1s
    rules:
      - alert: QueueStuck
        expr: ${expression}
        labels: {severity: critical}
        annotations: {summary: pool cpu-01 waits}
`;
}

describe("VictoriaLogs (a stand-in)", () => {
  const find = async (url: Secret, given: Partial<HealthSettings> = {}) =>
    said(await checkOne("victorialogs", settingsOf({ victorialogsUrl: url, ...given })));

  test("all well", async () => {
    await using logs = startLogsStandIn();
    expect(await find(new Secret(logs.url))).toMatch(
      /^ok: 812 lines in 15 min · newest of noetl \d+ m?s old$/,
    );
    expect(logs.state.asked).toContain(
      '_time:1d (app:in("noetl-server","noetl-worker")) | stats max(_time) as newest',
    );
  });

  test("an idle platform writes nothing, and that is well", async () => {
    await using logs = startLogsStandIn({ newest: ago(3 * 3_600_000) });
    expect(await find(new Secret(logs.url))).toBe(
      "ok: 812 lines in 15 min · newest of noetl 3 h old, nothing newer was written",
    );
  });

  test("nothing arrives; only lines of others; lines get lost on the way", async () => {
    await using logs = startLogsStandIn({ anyLines: 0, newest: "" });
    expect(await find(new Secret(logs.url))).toContain(
      "degraded: No line of anybody has arrived for 15 minutes → Vector does not ship",
    );
    logs.state.anyLines = 5;
    expect(await find(new Secret(logs.url))).toContain("and none of noetl's within a day");
    logs.state.newest = ago(3_600_000);
    await using metrics = startStandIn((url) =>
      url.pathname === "/api/v1/query"
        ? Response.json({
            status: "success",
            data: { resultType: "vector", result: [{ metric: {}, value: [0, "42"] }] },
          })
        : undefined,
    );
    const given = { victoriametricsUrl: new Secret(metrics.url) };
    expect(await find(new Secret(logs.url), given)).toContain(
      "noetl's newest line is 60 min old, and 42 were written since",
    );
  });

  test("lines that it drops between two checks", async () => {
    await using logs = startLogsStandIn({ dropped: 7 });
    const settings = settingsOf({
      victorialogsUrl: new Secret(logs.url),
      only: ["victorialogs"],
    });
    const plan = planChecks(settings);
    const first = await runChecks(plan, settings);
    expect(first.status).toBe("ok");
    logs.state.dropped = 10;
    const { components, status } = await runChecks(plan, settings);
    expect(status).toBe("degraded");
    expect(components[0]?.message).toBe("It has dropped 3 lines since the last check");
    expect((await runChecks(plan, settings)).status).toBe("ok");
  });

  test("down, another program", async () => {
    expect(await find(await NOWHERE())).toContain("No VictoriaLogs at");
    await using other = startStandIn(() => new Response("<html>", { status: 200 }));
    expect(await find(new Secret(other.url))).toContain(
      "is no VictoriaLogs (it does not answer /select/logsql/query with JSON lines)",
    );
  });
});

describe("Vector (a stand-in)", () => {
  const settings = (url: string) =>
    settingsOf({ vectorUrl: new Secret(url), vectorMetricsUrl: new Secret(url), only: ["vector"] });

  test("all well; without its metrics that is said", async () => {
    await using vector = startVectorStandIn();
    expect(said(await checkOne("vector", settings(vector.url)))).toBe(
      "ok: 1000 lines read · 990 handed on · buffer 9.8 KiB",
    );
    const api = settingsOf({ vectorUrl: new Secret(vector.url) });
    expect(said(await checkOne("vector", api))).toContain("NOETL_VECTOR_METRICS_URL has buffer");
  });

  test("buffer nearly full, nothing handed on, lines thrown away, not well itself", async () => {
    await using vector = startVectorStandIn({ buffer: 250_000_000 });
    expect(said(await checkOne("vector", settings(vector.url)))).toContain(
      "Its buffer is nearly full: 238 MiB of 256 MiB",
    );
    Object.assign(vector.state, { buffer: 0, sent: 0 });
    expect(said(await checkOne("vector", settings(vector.url)))).toContain(
      "It reads lines and hands none on",
    );
    Object.assign(vector.state, { sent: 5, discarded: 3, errors: 2 });
    expect(said(await checkOne("vector", settings(vector.url)))).toContain(
      "It has thrown away 3 lines since it started (vlogs: request_failed)",
    );
    vector.state.ok = false;
    expect(said(await checkOne("vector", settings(vector.url)))).toContain("down: Vector says");
  });

  test("errors between two checks count, older ones no more", async () => {
    await using vector = startVectorStandIn({ errors: 50 });
    const options = settings(vector.url);
    const plan = planChecks(options);
    expect((await runChecks(plan, options)).status).toBe("ok");
    Object.assign(vector.state, { errors: 54, received: 1100, sent: 1090 });
    const { components } = await runChecks(plan, options);
    expect(components[0]?.message).toBe(
      "Since the last check 4 errors and 0 lines thrown away (vlogs: request_failed)",
    );
    // Behind the same address another one, which has had its errors long ago.
    Object.assign(vector.state, { host: "node-2", errors: 900 });
    expect((await runChecks(plan, options)).status).toBe("ok");
    Object.assign(vector.state, { received: 1200 });
    const stuck = await runChecks(plan, options);
    expect(stuck.components[0]?.message).toBe("It reads lines and hands none on");
  });

  test("down, another program", async () => {
    const gone = settingsOf({ vectorUrl: await NOWHERE() });
    expect(said(await checkOne("vector", gone))).toContain("No Vector at");
    await using other = startStandIn(() => new Response("OK"));
    expect(said(await checkOne("vector", settings(other.url)))).toContain("is no Vector");
  });
});

describe("Grafana (a stand-in)", () => {
  const find = async (url: Secret, token: string | undefined = "glsa_right") =>
    said(
      await checkOne(
        "grafana",
        settingsOf({ grafanaUrl: url, grafanaToken: token === "" ? undefined : new Secret(token) }),
      ),
    );

  test("all well; without credentials only that it is up", async () => {
    await using grafana = startGrafanaStandIn();
    expect(await find(new Secret(grafana.url))).toBe("ok: 12.3.0 · 2 datasources, 5 dashboards");
    expect(await find(new Secret(grafana.url), "")).toContain(
      "NOETL_GRAFANA_TOKEN has datasources",
    );
  });

  test("datasource missing or broken, dashboards missing", async () => {
    await using grafana = startGrafanaStandIn({
      datasources: { prometheus: { status: 400, message: "dial tcp: lookup vm: no such host" } },
      dashboards: ["noetl-server"],
    });
    const text = await find(new Secret(grafana.url));
    expect(text).toContain("Datasource victorialogs is missing");
    expect(text).toContain(
      "Datasource prometheus (dial tcp: lookup vm: no such host) does not work",
    );
    expect(text).toContain(
      "4 dashboards are missing: noetl-workers, noetl-gpus, noetl-executions, noetl-platform",
    );
  });

  test("wrong token, own database broken, down, another program", async () => {
    await using grafana = startGrafanaStandIn();
    const refused = await find(new Secret(grafana.url), "glsa_wrong");
    expect(refused).toContain("refuses the credentials (HTTP 401: Invalid API key)");
    expect(refused).toContain("NOETL_GRAFANA_TOKEN");
    grafana.state.database = "failing";
    expect(await find(new Secret(grafana.url))).toContain("Grafana's own database is not well");
    expect(await find(await NOWHERE())).toContain("No Grafana at");
    await using other = startStandIn(() => Response.json({ status: "ok" }));
    expect(await find(new Secret(other.url))).toContain("is no Grafana");
  });
});

test("a component that watches the platform being down leaves it degraded, not down", async () => {
  await using ready = startStandIn((url) => {
    switch (url.pathname) {
      case "/readyz":
        return Response.json({
          status: "ok",
          database: "ok",
          nats: "ok",
          uptime_seconds: 5,
          version: "0.1.0",
        });
      case "/api/worker/pools":
        return Response.json([{ name: "cpu-01", workers: 1, slots: 1, free_slots: 1, queued: 0 }]);
      default:
        return Response.json({ workers: [], gpus: [] });
    }
  });
  const grafanaUrl = await NOWHERE();
  const report = await check(settingsOf({ serverUrls: [ready.url], grafanaUrl, pools: [] }));
  const of = (name: string) => report.components.find((each) => each.component === name);
  expect(of("grafana")?.status).toBe("down");
  expect(report.status).toBe("degraded");
  expect((await check(settingsOf({ grafanaUrl, only: ["grafana"] }))).status).toBe("down");
});
