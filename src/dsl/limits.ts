/** Limits on how much runs at once, and how often: `executor.spec.concurrency`, `rate_limit`. */
import { isTemplate } from "../template/lexer.ts";
import { checkTemplates } from "./expression.ts";
import type { Concurrency, RateLimit } from "./playbook.ts";
import type { Fields } from "./report.ts";

const ON_LIMIT = ["queue", "reject", "cancel_oldest"] as const;
/** Executions that may run at once under one key: admitting counts them. */
const LIMIT_MAX = 10_000;
const PERIODS = { per_second: 1, per_minute: 60, per_hour: 3600 } as const;
const PERMITS_PER_SECOND_MAX = 100_000;
const BURST_MAX = 1_000_000;
/** Run by the server, where nothing waits. */
const SERVER_KINDS = ["playbook", "wait"];

/** `executor.spec.concurrency`; undefined when the playbook says nothing. */
export function readConcurrency(spec: Fields): Concurrency | undefined {
  if (!spec.has("concurrency")) {
    return undefined;
  }
  const fields = spec.fields("concurrency");
  fields.checkKeys(["key", "limit", "on_limit"]);
  const key = readKey(fields);
  const onLimit = fields.choice("on_limit", ON_LIMIT, "CONCURRENCY_INVALID") ?? "queue";
  return { limit: readLimit(fields), onLimit, ...(key === undefined ? {} : { key }) };
}

function readLimit(fields: Fields): number | string {
  const value = fields.get("limit");
  if (typeof value === "string" && isTemplate(value)) {
    checkTemplates(fields.report, value, fields.at("limit"));
    return value;
  }
  const limit = fields.integer("limit", 1) ?? 1;
  if (limit > LIMIT_MAX) {
    fields.error("CONCURRENCY_INVALID", "limit", `limit is at most ${LIMIT_MAX}`);
  }
  return limit;
}

/** A text, maybe with templates. */
function readKey(fields: Fields): string | undefined {
  const key = fields.text("key");
  if (key?.trim() === "") {
    fields.error("KEY_EMPTY", "key", "key is empty; leave it out for a key of its own");
  }
  checkTemplates(fields.report, key, fields.at("key"));
  return key;
}

/** `rate_limit` of a task, below its `spec` or directly; undefined when it has none. */
export function readRateLimit(fields: Fields, kind: string): RateLimit | undefined {
  const spec = fields.fields("spec");
  const owner = spec.has("rate_limit") ? spec : fields;
  if (!owner.has("rate_limit")) {
    return undefined;
  }
  if (SERVER_KINDS.includes(kind)) {
    const message = `${kind} runs on the server, which waits for no rate; limit executions by executor.spec.concurrency`;
    owner.error("RATE_LIMIT_UNSUPPORTED", "rate_limit", message);
  }
  const limit = owner.fields("rate_limit");
  limit.checkKeys(["key", "burst", ...Object.keys(PERIODS)]);
  const key = readKey(limit);
  const perSecond = readRate(limit);
  const burst = limit.integer("burst", 1) ?? Math.max(1, Math.floor(perSecond));
  if (burst > BURST_MAX) {
    limit.error("RATE_LIMIT_INVALID", "burst", `burst is at most ${BURST_MAX}`);
  }
  return { perSecond, burst, ...(key === undefined ? {} : { key }) };
}

/** Permits a second; 1 for a document that is refused anyway. */
function readRate(limit: Fields): number {
  const named = (Object.keys(PERIODS) as (keyof typeof PERIODS)[]).filter((key) => limit.has(key));
  const [period] = named;
  if (period === undefined || named.length > 1) {
    const message = `rate_limit needs one of ${Object.keys(PERIODS).join(", ")}`;
    limit.report.error("RATE_LIMIT_INVALID", limit.path, message);
    return 1;
  }
  const perSecond = Number(limit.get(period)) / PERIODS[period];
  if (perSecond > 0 && perSecond <= PERMITS_PER_SECOND_MAX) {
    return perSecond;
  }
  const message = `${period} must be a number above 0, at most ${PERMITS_PER_SECOND_MAX} a second`;
  limit.error("RATE_LIMIT_INVALID", period, message);
  return 1;
}
