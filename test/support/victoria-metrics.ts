/**
 * Real VictoriaMetrics and vmalert (`apt-get install victoria-metrics`), on folders and ports of their own, and a
 * **stand-in** of Alertmanager that records what vmalert sends.
 */
import { join } from "node:path";
import { stringify } from "yaml";
import { findFreePort } from "../../src/embedded/free-port.ts";
import { Component } from "../e2e/chaos/component.ts";

/** Why tests with them are skipped; undefined: they run. */
export const noVictoriaMetrics =
  Bun.which("victoria-metrics") === null || Bun.which("vmalert") === null
    ? "there is no victoria-metrics with vmalert: .ci/setup --test installs it"
    : undefined;

export interface Target {
  readonly job: string;
  /** `host:port`. */
  readonly address: string;
  readonly path?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  /** Unix seconds and the value. */
  readonly value: readonly [number, string];
}

export interface VictoriaMetrics extends AsyncDisposable {
  readonly url: string;
  readonly component: Component;
  /** @throws Error with what it says of a query that it does not take. */
  query(expr: string): Promise<readonly Sample[]>;
}

/** Scrapes each second, so that rates over seconds have values. It scrapes itself, as job `victoriametrics`. */
export async function startVictoriaMetrics(
  dir: string,
  targets: readonly Target[],
): Promise<VictoriaMetrics> {
  const port = await findFreePort();
  const address = `127.0.0.1:${port}`;
  const config = join(dir, "scrape.yaml");
  await Bun.write(config, scrapeConfig([...targets, { job: "victoriametrics", address }]));
  const component = new Component({
    name: "victoria-metrics",
    command: [
      "victoria-metrics",
      `-httpListenAddr=${address}`,
      `-storageDataPath=${join(dir, "victoria-metrics")}`,
      `-promscrape.config=${config}`,
      // Otherwise nothing shows for 30 s, and what was not there a moment ago not for longer.
      "-search.latencyOffset=0s",
      "-search.disableCache",
      "-memory.allowedBytes=64MiB",
    ],
    logFile: join(dir, "victoria-metrics.log"),
    isReady: async () => (await fetch(`http://${address}/health`)).ok,
  });
  await component.start();
  return {
    url: `http://${address}`,
    component,
    query: (expr) => query(`http://${address}`, expr),
    [Symbol.asyncDispose]: () => component[Symbol.asyncDispose](),
  };
}

function scrapeConfig(targets: readonly Target[]): string {
  return stringify({
    global: { scrape_interval: "1s", scrape_timeout: "1s" },
    scrape_configs: targets.map(({ job, address, path = "/metrics", labels = {} }, index) => ({
      job_name: `${job}-${index}`,
      metrics_path: path,
      static_configs: [{ targets: [address], labels: { job, ...labels } }],
    })),
  });
}

async function query(url: string, expr: string): Promise<readonly Sample[]> {
  const response = await fetch(`${url}/api/v1/query`, {
    method: "POST",
    body: new URLSearchParams({ query: expr }),
  });
  const answer = Object(await response.json());
  if (answer.status !== "success") {
    throw new Error(`VictoriaMetrics refuses ${expr}: ${answer.error}`);
  }
  return answer.data.result;
}

/** What vmalert has said of one alert last. */
export interface Notice {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly isFiring: boolean;
}

export interface Vmalert extends AsyncDisposable {
  readonly url: string;
  /** The latest notice of each alert, by name and labels. */
  notices(): readonly Notice[];
  isFiring(name: string, labels?: Readonly<Record<string, string>>): boolean;
}

/** Evaluates the rules against this VictoriaMetrics, and writes their state there. */
export async function startVmalert(
  dir: string,
  metrics: VictoriaMetrics,
  rules: string,
): Promise<Vmalert> {
  await using stack = new AsyncDisposableStack();
  const recorder = stack.use(startRecorder());
  const port = await findFreePort();
  const file = join(dir, "rules.yaml");
  await Bun.write(file, rules);
  const component = stack.use(
    new Component({
      name: "vmalert",
      command: [
        "vmalert",
        `-httpListenAddr=127.0.0.1:${port}`,
        `-rule=${file}`,
        `-datasource.url=${metrics.url}`,
        `-remoteWrite.url=${metrics.url}`,
        "-remoteWrite.flushInterval=500ms",
        `-notifier.url=${recorder.url}`,
        "-evaluationInterval=1s",
      ],
      logFile: join(dir, "vmalert.log"),
      isReady: async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok,
    }),
  );
  await component.start();
  const owned = stack.move();
  return {
    url: `http://127.0.0.1:${port}`,
    notices: () => recorder.notices(),
    isFiring: (name, labels = {}) =>
      recorder
        .notices()
        .some(
          (one) =>
            one.isFiring &&
            one.name === name &&
            Object.entries(labels).every(([label, value]) => one.labels[label] === value),
        ),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** **Stand-in** of Alertmanager: takes alerts by its API and remembers the last word on each. */
function startRecorder() {
  const latest = new Map<string, Notice>();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      const alerts: readonly unknown[] = JSON.parse(await request.text());
      for (const alert of alerts) {
        const { labels, annotations, endsAt } = Object(alert);
        const isFiring = Date.parse(endsAt) > Date.now();
        const notice = { name: labels.alertname, labels, annotations, isFiring };
        latest.set(JSON.stringify(Object.entries(labels).toSorted()), notice);
      }
      return new Response("{}");
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    notices: () => [...latest.values()],
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}
