/** VictoriaMetrics: up, it scrapes servers and workers, and what it has of them is fresh. */
import { isJsonObject } from "../core/json.ts";
import type { Service } from "./ask.ts";
import { ask, askObject } from "./ask.ts";
import { readSamples, total } from "./exposition.ts";
import type { Check, CheckContext, Finding, Problem } from "./finding.ts";
import { degraded } from "./finding.ts";
import { query, queryNumber } from "./metrics-query.ts";
import type { PlatformView } from "./platform-view.ts";
import { ageText, bytesText, clippedCause, count, listText } from "./words.ts";

/** As the scrape configuration in deploy/ names them. */
export const JOBS = { server: "noetl-server", worker: "noetl-worker" } as const;
/** Scraped every 15 s: several have failed when the newest sample is older. */
const STALE_S = 90;
const FREE_SHARE = 0.1;

interface Target {
  readonly job: string;
  readonly instance: string;
  readonly isUp: boolean;
}

export interface MetricsFacts {
  readonly targets: readonly Target[];
  /** Why scrapes failed, by instance. */
  readonly errors: ReadonlyMap<string, string>;
  /** Age of the newest sample of servers; undefined: none within a day. */
  readonly ageS: number | undefined;
  readonly freeBytes: number | undefined;
  readonly dataBytes: number | undefined;
  readonly isReadOnly: boolean;
  /** As the server knows them; undefined: it does not answer. */
  readonly liveWorkers: number | undefined;
}

export function victoriametricsCheck(service: Service, view: PlatformView): Check {
  return {
    component: "victoriametrics",
    run: async (context) => {
      const load = view.load().catch(() => undefined);
      await ask(service, { path: "/health" }, context);
      const up = await query(service, `up{job=~"${JOBS.server}|${JOBS.worker}"}`, context);
      const targets = up.map(({ labels, value }) => ({
        job: labels["job"] ?? "",
        instance: labels["instance"] ?? "",
        isUp: value === 1,
      }));
      const [ageS, errors, storage] = await Promise.all([
        queryNumber(service, "min(lag(noetl_server_build_info[1d]))", context),
        readErrors(service, context),
        readStorage(service, context),
      ]);
      context.doing("workers of the server");
      const workers = (await load)?.workers.filter((each) => each["status"] !== "lost");
      return [metricsFinding({ targets, errors, ageS, ...storage, liveWorkers: workers?.length })];
    },
  };
}

/** Only when VictoriaMetrics scrapes by itself: a vmagent elsewhere knows its own. */
async function readErrors(
  service: Service,
  context: CheckContext,
): Promise<ReadonlyMap<string, string>> {
  const path = "/api/v1/targets?state=active";
  const { data } = await askObject(service, { path, accept: [400, 404] }, context).catch(() => ({
    data: null,
  }));
  const list = isJsonObject(data) ? data["activeTargets"] : undefined;
  const targets = Array.isArray(list) ? list.filter(isJsonObject) : [];
  return new Map(
    targets.flatMap(({ labels, lastError }): (readonly [string, string])[] =>
      typeof lastError === "string" && lastError !== "" && isJsonObject(labels)
        ? [[String(labels["instance"]), lastError]]
        : [],
    ),
  );
}

const STORAGE = ["vm_free_disk_space_bytes", "vm_data_size_bytes", "vm_storage_is_read_only"];

async function readStorage(
  service: Service,
  context: CheckContext,
): Promise<Pick<MetricsFacts, "freeBytes" | "dataBytes" | "isReadOnly">> {
  const text = await ask(service, { path: "/metrics" }, context).then(
    (answer) => answer.text,
    // Other servers of the same API keep theirs elsewhere.
    () => "",
  );
  const samples = readSamples(text, STORAGE);
  return {
    freeBytes: total(samples.get("vm_free_disk_space_bytes")),
    dataBytes: total(samples.get("vm_data_size_bytes")),
    isReadOnly: (total(samples.get("vm_storage_is_read_only")) ?? 0) > 0,
  };
}

export function metricsFinding(facts: MetricsFacts): Finding {
  const { targets, ageS, dataBytes, freeBytes } = facts;
  const of = (job: string) => targets.filter((each) => each.job === job && each.isUp).length;
  const parts = [
    `scrapes ${count(of(JOBS.server), "server")} and ${count(of(JOBS.worker), "worker")}`,
    ...(ageS === undefined ? [] : [`newest sample ${ageText(ageS * 1000)} old`]),
    ...(dataBytes === undefined ? [] : [bytesText(dataBytes)]),
  ];
  return {
    component: "victoriametrics",
    summary: parts.join(" · "),
    problems: [...storageProblems(facts), ...targetProblems(facts), ...freshnessProblems(facts)],
    facts: {
      targets: targets.map(({ job, instance, isUp }) => ({ job, instance, is_up: isUp })),
      newest_sample_age_seconds: ageS ?? null,
      data_bytes: dataBytes ?? null,
      free_bytes: freeBytes ?? null,
    },
  };
}

function storageProblems({ isReadOnly, freeBytes, dataBytes }: MetricsFacts): readonly Problem[] {
  if (isReadOnly) {
    return [
      degraded(
        "It takes no more samples: its disk is full",
        "Enlarge the volume, or shorten -retentionPeriod.",
      ),
    ];
  }
  const isLow =
    freeBytes !== undefined && dataBytes !== undefined && freeBytes < dataBytes * FREE_SHARE;
  return isLow
    ? [
        degraded(
          `Its disk is nearly full: ${bytesText(freeBytes)} are free beside ${bytesText(dataBytes)} of data`,
          "Enlarge the volume, or shorten -retentionPeriod.",
        ),
      ]
    : [];
}

function targetProblems({ targets, errors, liveWorkers }: MetricsFacts): readonly Problem[] {
  const downs = targets.filter((each) => !each.isUp);
  const workers = targets.filter((each) => each.job === JOBS.worker && each.isUp);
  const missing = Object.values(JOBS).filter(
    (job) =>
      !targets.some((each) => each.job === job) && (job === JOBS.server || (liveWorkers ?? 0) > 0),
  );
  const problems = [
    missing.length > 0 &&
      degraded(
        `No target of job ${missing.join(" and ")} is scraped`,
        "Compare the scrape configuration (deploy/victoriametrics, VMPodScrape) and its labels; see deploy/docs.",
      ),
    downs.length > 0 &&
      degraded(
        `${count(downs.length, "target is", "targets are")} down: ${listText(downs.map((each) => targetText(each, errors)))}`,
        "Ask its /metrics from where VictoriaMetrics runs: it is dead, on another port, or a NetworkPolicy is in the way.",
      ),
    downs.length === 0 &&
      !missing.includes(JOBS.worker) &&
      liveWorkers !== undefined &&
      workers.length < liveWorkers &&
      degraded(
        `Of ${count(liveWorkers, "live worker")} only ${workers.length} ${workers.length === 1 ? "is" : "are"} scraped`,
        "noetl worker list --json has their metrics_url: compare it with the scrape configuration.",
      ),
  ];
  return problems.filter((problem) => problem !== false);
}

function targetText({ job, instance }: Target, errors: MetricsFacts["errors"]): string {
  const error = errors.get(instance);
  return `${job} ${instance}${error === undefined ? "" : ` (${clippedCause(error)})`}`;
}

function freshnessProblems({ ageS, targets }: MetricsFacts): readonly Problem[] {
  if (ageS === undefined) {
    return targets.some((each) => each.job === JOBS.server && each.isUp)
      ? [
          degraded(
            `Servers are scraped, and no series noetl_server_build_info is there`,
            "Another program answers the scrapes, or metric_relabel_configs drop the series.",
          ),
        ]
      : [];
  }
  return ageS > STALE_S
    ? [
        degraded(
          `The servers' series are stale: the newest sample is ${ageText(ageS * 1000)} old`,
          "Scrapes have stopped: look at the scraping process and its targets.",
        ),
      ]
    : [];
}
