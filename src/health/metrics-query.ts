/** Instant queries to VictoriaMetrics (or Prometheus): the few answers that checks need. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Service } from "./ask.ts";
import { askObject, notIt } from "./ask.ts";
import type { Sample } from "./exposition.ts";
import type { CheckContext } from "./finding.ts";

/** @throws CheckFailure when what answers does not know the query API. */
export async function query(
  service: Service,
  expression: string,
  context: CheckContext,
): Promise<readonly Sample[]> {
  const path = `/api/v1/query?${new URLSearchParams({ query: expression })}`;
  const { status, data } = await askObject(service, { path }, context);
  if (status !== "success" || !isJsonObject(data) || !Array.isArray(data["result"])) {
    throw notIt(service, "it does not answer /api/v1/query as it should");
  }
  const rows: readonly Json[] = data["result"];
  return rows.filter(isJsonObject).map(sampleOf);
}

function sampleOf({ metric, value }: JsonObject): Sample {
  const labels = isJsonObject(metric) ? metric : {};
  const last = Array.isArray(value) ? value.at(1) : undefined;
  return {
    labels: Object.fromEntries(Object.entries(labels).map(([name, each]) => [name, String(each)])),
    value: Number(last),
  };
}

/** The value of the only row; undefined when there is none. */
export async function queryNumber(
  service: Service,
  expression: string,
  context: CheckContext,
): Promise<number | undefined> {
  const [row] = await query(service, expression, context);
  return row === undefined || Number.isNaN(row.value) ? undefined : row.value;
}
