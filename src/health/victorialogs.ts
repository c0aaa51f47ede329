/** VictoriaLogs: up, and what the platform logs arrives there. */
import { isJsonObject } from "../core/json.ts";
import type { Service } from "./ask.ts";
import { ask, notIt, readJson } from "./ask.ts";
import { readSamples, total } from "./exposition.ts";
import type { Check, CheckContext, Finding, Problem } from "./finding.ts";
import { degraded } from "./finding.ts";
import { queryNumber } from "./metrics-query.ts";
import { ageText, count } from "./words.ts";

export interface LogsOptions {
  readonly service: Service;
  /** LogsQL filter that finds the platform's own lines. */
  readonly filter: string;
  /** Knows whether anything was logged; undefined: nobody does. */
  readonly metrics: Service | undefined;
}

export interface LogsFacts {
  /** Lines of anybody within the last {@link RECENT}. */
  readonly anyLines: number;
  /** Age of the newest line of ours; undefined: none within a day. */
  readonly ageMs: number | undefined;
  /** Lines that servers and workers wrote within the last {@link RECENT}; undefined: not known. */
  readonly written: number | undefined;
  /** Since it started. */
  readonly ingested: number | undefined;
  readonly dropped: number | undefined;
  /** Of `dropped`: since the last check, 0 at the first. */
  readonly newlyDropped: number;
  readonly readErrors: number | undefined;
}

const RECENT = "15m";
const RECENT_MS = 15 * 60_000;

export function victorialogsCheck(options: LogsOptions): Check {
  const { service, filter, metrics } = options;
  let droppedBefore: number | undefined;
  return {
    component: "victorialogs",
    run: async (context) => {
      await ask(service, { path: "/health" }, context);
      const [any, ours, written, counters] = await Promise.all([
        queryStats(service, `_time:${RECENT} * | stats count() as lines`, context),
        queryStats(service, `_time:1d (${filter}) | stats max(_time) as newest`, context),
        metrics === undefined ? undefined : writtenLines(metrics, context),
        readCounters(service, context),
      ]);
      const newestMs = Date.parse(String(ours["newest"] ?? ""));
      const { dropped } = counters;
      const newlyDropped = Math.max(0, (dropped ?? 0) - (droppedBefore ?? dropped ?? 0));
      droppedBefore = dropped;
      return [
        logsFinding({
          anyLines: Number(any["lines"] ?? 0),
          ageMs: Number.isNaN(newestMs) ? undefined : Math.max(0, Date.now() - newestMs),
          written,
          ...counters,
          newlyDropped,
        }),
      ];
    },
  };
}

/** The only row of a query that counts. */
async function queryStats(service: Service, text: string, context: CheckContext) {
  const path = `/select/logsql/query?${new URLSearchParams({ query: text, limit: "1" })}`;
  const answer = await ask(service, { path }, context);
  const [line = ""] = answer.text.split("\n");
  const row = line === "" ? {} : readJson(line);
  if (!isJsonObject(row)) {
    throw notIt(service, "it does not answer /select/logsql/query with JSON lines");
  }
  return row;
}

/** What servers and workers have logged; undefined when nobody can say. */
async function writtenLines(metrics: Service, context: CheckContext): Promise<number | undefined> {
  const expression = `sum(increase(noetl_log_lines_total[${RECENT}]))`;
  return await queryNumber(metrics, expression, context).catch(() => undefined);
}

const COUNTERS = ["vl_rows_ingested_total", "vl_rows_dropped_total", "vl_http_errors_total"];

async function readCounters(
  service: Service,
  context: CheckContext,
): Promise<Pick<LogsFacts, "ingested" | "dropped" | "readErrors">> {
  const { text } = await ask(service, { path: "/metrics" }, context);
  const samples = readSamples(text, COUNTERS);
  return {
    ingested: total(samples.get("vl_rows_ingested_total")),
    dropped: total(samples.get("vl_rows_dropped_total")),
    readErrors: total(samples.get("vl_http_errors_total")),
  };
}

export function logsFinding(facts: LogsFacts): Finding {
  const { ageMs, anyLines } = facts;
  const isIdle = ageMs !== undefined && ageMs > RECENT_MS;
  const parts = [
    `${count(anyLines, "line")} in ${RECENT_MS / 60_000} min`,
    ageMs === undefined
      ? ""
      : `newest of noetl ${ageText(ageMs)} old${isIdle ? ", nothing newer was written" : ""}`,
  ];
  return {
    component: "victorialogs",
    summary: parts.filter((part) => part !== "").join(" · "),
    problems: [...arrivalProblems(facts), ...dropProblems(facts)],
    facts: {
      recent_lines: anyLines,
      newest_line_age_seconds: ageMs === undefined ? null : ageMs / 1000,
      written_lines: facts.written ?? null,
      ingested_total: facts.ingested ?? null,
      dropped_total: facts.dropped ?? null,
      http_errors_total: facts.readErrors ?? null,
    },
  };
}

function arrivalProblems({ anyLines, ageMs, written = 0 }: LogsFacts): readonly Problem[] {
  const isOurs = ageMs !== undefined && ageMs <= RECENT_MS;
  if (anyLines === 0 && !isOurs) {
    return [
      degraded(
        "No line of anybody has arrived for 15 minutes",
        "Vector does not ship: look at its health, its buffer and its errors for the sink.",
      ),
    ];
  }
  if (ageMs === undefined) {
    return [
      degraded(
        "Lines of others arrive, and none of noetl's within a day",
        "Vector does not read or does not know them: compare its sources and labels with NOETL_VICTORIALOGS_QUERY.",
      ),
    ];
  }
  return !isOurs && written > 0
    ? [
        degraded(
          `noetl's newest line is ${ageText(ageMs)} old, and ${Math.round(written)} were written since`,
          "They get lost on the way: look at Vector's errors, and at the lines that VictoriaLogs drops.",
        ),
      ]
    : [];
}

function dropProblems({ newlyDropped }: LogsFacts): readonly Problem[] {
  return newlyDropped > 0
    ? [
        degraded(
          `It has dropped ${count(newlyDropped, "line")} since the last check`,
          "Their time is outside of -retentionPeriod or in the future, or they are too large: its log says which.",
        ),
      ]
    : [];
}
