/** vmalert: up, rules loaded and evaluated, and what fires now. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Service } from "./ask.ts";
import { ask, askObject, notIt } from "./ask.ts";
import type { Check, CheckContext, Finding, Problem } from "./finding.ts";
import { degraded } from "./finding.ts";
import { clipped, clippedCause, count, listText } from "./words.ts";

interface Rule {
  readonly name: string;
  readonly error: string;
}

interface Alert {
  readonly name: string;
  readonly state: string;
  readonly severity: string;
  readonly summary: string;
  readonly since: string;
}

export function vmalertCheck(service: Service): Check {
  return {
    component: "vmalert",
    run: async (context) => {
      await ask(service, { path: "/health" }, context);
      const [groups, alerts] = await Promise.all([
        readList(service, "/api/v1/rules", "groups", context),
        readList(service, "/api/v1/alerts", "alerts", context),
      ]);
      return [vmalertFinding(groups.flatMap(rulesOf), alerts.map(alertOf))];
    },
  };
}

async function readList(
  service: Service,
  path: string,
  name: string,
  context: CheckContext,
): Promise<readonly JsonObject[]> {
  const { status, data } = await askObject(service, { path }, context);
  const list = isJsonObject(data) ? data[name] : undefined;
  if (status !== "success" || (list !== null && !Array.isArray(list))) {
    throw notIt(service, `it does not answer ${path} as vmalert does`);
  }
  return rows(list);
}

function rows(list: Json | undefined): readonly JsonObject[] {
  return Array.isArray(list) ? list.filter(isJsonObject) : [];
}

function rulesOf(group: JsonObject): readonly Rule[] {
  return rows(group["rules"]).map((rule) => ({
    name: text(rule, "name"),
    error: text(rule, "lastError"),
  }));
}

function alertOf(alert: JsonObject): Alert {
  const { labels, annotations } = alert;
  return {
    name: isJsonObject(labels)
      ? text(labels, "alertname") || text(alert, "name")
      : text(alert, "name"),
    state: text(alert, "state"),
    severity: isJsonObject(labels) ? text(labels, "severity") : "",
    summary: isJsonObject(annotations) ? text(annotations, "summary") : "",
    since: text(alert, "activeAt"),
  };
}

function text(row: JsonObject, name: string): string {
  const value = row[name];
  return typeof value === "string" ? value : "";
}

export function vmalertFinding(rules: readonly Rule[], alerts: readonly Alert[]): Finding {
  const firing = alerts.filter(({ state }) => state === "firing");
  const pending = alerts.length - firing.length;
  return {
    component: "vmalert",
    summary: `${count(rules.length, "rule")} · nothing fires${pending === 0 ? "" : ` · ${pending} pending`}`,
    problems: [...ruleProblems(rules), ...firingProblems(firing)],
    facts: {
      rules: rules.length,
      failing_rules: rules.filter(({ error }) => error !== "").length,
      pending,
      firing: firing.map(({ name, severity, summary, since }) => ({
        name,
        severity,
        summary,
        since,
      })),
    },
  };
}

function ruleProblems(rules: readonly Rule[]): readonly Problem[] {
  const failing = rules.filter(({ error }) => error !== "");
  const [first] = failing;
  if (rules.length === 0) {
    return [
      degraded(
        "No rules are loaded",
        "Compare its -rule with where the files of rules are mounted.",
      ),
    ];
  }
  return first === undefined
    ? []
    : [
        degraded(
          `${count(failing.length, "rule")} cannot be evaluated: ${first.name} (${clippedCause(first.error)})`,
          "Look at its -datasource.url and at VictoriaMetrics.",
        ),
      ];
}

/** One for each alert, however many instances of it fire. */
function firingProblems(firing: readonly Alert[]): readonly Problem[] {
  const bySeverity = (name: string): number => (name === "critical" ? 0 : 1);
  return [...Map.groupBy(firing, ({ name }) => name)]
    .map(([name, all]) => ({ name, all, severity: all[0]?.severity ?? "" }))
    .sort((a, b) => bySeverity(a.severity) - bySeverity(b.severity))
    .map(({ name, all, severity }) => {
      const said = listText(all.map(({ summary }) => clipped(summary, 100)).filter(Boolean), 2);
      const what = `${severity === "" ? "" : `${severity} `}alert ${name}`;
      return degraded(
        `Firing: ${what}${said === "" ? "" : `: ${said}`}`,
        `deploy/docs/alerts/${name}.md says what to do.`,
      );
    });
}
