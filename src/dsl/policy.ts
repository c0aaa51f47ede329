/** Policies of tasks: rules, their actions, and the older `retry` block. */

import { parseDuration } from "../core/duration.ts";
import type { Json } from "../core/json.ts";
import { isTemplate } from "../template/lexer.ts";
import { suggestion } from "../template/nearest.ts";
import { checkTemplates, readAssignments, readGuard } from "./expression.ts";
import type { Policy, Rule } from "./playbook.ts";
import { Fields } from "./report.ts";

const ACTIONS = ["continue", "retry", "break", "jump", "fail"] as const;
const BACKOFFS = ["none", "fixed", "linear", "exponential"] as const;
const THEN_KEYS = [
  "do",
  "attempts",
  "backoff",
  "delay",
  "max_delay",
  "jitter",
  "to",
  "set",
  "allow",
];
const PREVIOUS = new Set(["previous", "prev", "_previous", "@previous"]);
const ATTEMPTS_DEFAULT = 3;
const DELAY_DEFAULT_SECONDS = 1;

/** Labels of the pipeline that a rule may jump to, and where in it the rule's task stands. */
export interface Place {
  readonly labels: readonly string[];
  readonly index: number;
}

/** `spec.policy` of a task; undefined when it says nothing. */
export function readPolicy(spec: Fields, place: Place): Policy | undefined {
  if (!spec.has("policy")) {
    return undefined;
  }
  const policy = spec.fields("policy");
  policy.checkKeys(["mode", "on_unmatched", "rules"], ["before", "after", "finally"]);
  const rules = readRules(policy, place);
  const onUnmatched = policy.choice("on_unmatched", ["continue", "fail"], "POLICY_INVALID");
  const mode = policy.choice("mode", ["exclusive", "inclusive"], "POLICY_INVALID") ?? "exclusive";
  return { mode, rules, ...(onUnmatched === undefined ? {} : { onUnmatched }) };
}

function readRules(policy: Fields, place: Place): readonly Rule[] {
  const items = policy.list("rules");
  if (items.length === 0) {
    policy.warn("POLICY_EMPTY", "rules", "a policy without rules does nothing");
  }
  const rules = items.flatMap((item, index) => {
    const rule = Fields.of(policy.report, item, `${policy.at("rules")}[${index}]`);
    return readRule(rule, place) ?? [];
  });
  const elseIndex = rules.findIndex((rule) => rule.when === undefined);
  if (elseIndex >= 0 && elseIndex < rules.length - 1) {
    const path = `${policy.at("rules")}[${elseIndex + 1}]`;
    policy.report.warn("RULE_UNREACHABLE", path, "a rule after `else` is never reached");
  }
  return rules;
}

function readRule(rule: Fields, place: Place): Rule | undefined {
  rule.checkKeys(["when", "then", "else"]);
  if (Object.hasOwn(rule.map, "else")) {
    return readElse(rule, place);
  }
  if (!rule.has("when") || !rule.has("then")) {
    const missing = rule.has("when") ? "then" : "when";
    rule.report.error(
      "RULE_INVALID",
      rule.path,
      `a rule needs "when" and "then", or "else"; "${missing}" is missing`,
    );
    return undefined;
  }
  const when = readGuard(rule, "when");
  const then = readThen(rule.fields("then"), place);
  return then && { ...then, ...(when === undefined ? {} : { when }) };
}

/** `else: {then: {…}}`, `else: {do, set}`, or a null `else` beside a `then`. */
function readElse(rule: Fields, place: Place): Rule | undefined {
  if (!rule.has("else") && rule.has("then")) {
    rule.legacy("else", '"else" is null beside "then"; write else: {then: {…}}');
    return readThen(rule.fields("then"), place);
  }
  const otherwise = rule.fields("else");
  if (otherwise.has("then")) {
    otherwise.checkKeys(["then"]);
    return readThen(otherwise.fields("then"), place);
  }
  if (otherwise.has("do")) {
    rule.legacy("else", '"else" has no "then"; write else: {then: {…}}');
  }
  return readThen(otherwise, place);
}

function readThen(then: Fields, place: Place): Rule | undefined {
  then.checkKeys(THEN_KEYS);
  const action = then.choice("do", ACTIONS, "ACTION_UNKNOWN");
  if (!then.has("do")) {
    then.report.error(
      "ACTION_MISSING",
      then.path,
      `"do" is missing; it is one of ${ACTIONS.join(", ")}`,
    );
  }
  const to = readTarget(then, action, place);
  const rule = { ...readRetry(then), set: readAssignments(then, "set") };
  return action && { action, ...rule, ...(to === undefined ? {} : { to }) };
}

function readRetry(
  then: Fields,
): Pick<Rule, "attempts" | "backoff" | "delay" | "maxDelayMs" | "hasJitter"> {
  const maxDelayMs = readDuration(then, "max_delay");
  return {
    attempts: then.integer("attempts", 1) ?? ATTEMPTS_DEFAULT,
    ...readWait(then, "delay"),
    hasJitter: then.flag("jitter") ?? false,
    ...(maxDelayMs === undefined ? {} : { maxDelayMs }),
  };
}

/** `none` with a delay of its own waits that long each time; without one not at all. */
function readWait(fields: Fields, delayKey: string): Pick<Rule, "backoff" | "delay"> {
  const delay = readDelay(fields, delayKey);
  const backoff = fields.choice("backoff", BACKOFFS, "BACKOFF_UNKNOWN") ?? "fixed";
  if (backoff === "none" && delay === undefined) {
    return { backoff, delay: 0 };
  }
  return { backoff: backoff === "none" ? "fixed" : backoff, delay: delay ?? DELAY_DEFAULT_SECONDS };
}

function readDelay(fields: Fields, key: string): number | string | undefined {
  const value = fields.get(key);
  if (typeof value === "string" && isTemplate(value)) {
    checkTemplates(fields.report, value, fields.at(key));
    return value;
  }
  const milliseconds = readDuration(fields, key);
  return milliseconds === undefined ? undefined : milliseconds / 1000;
}

/** Milliseconds. Reports DURATION_INVALID. */
export function readDuration(fields: Fields, key: string): number | undefined {
  const value: Json | undefined = fields.get(key);
  const milliseconds = parseDuration(value);
  if (value !== undefined && milliseconds === undefined) {
    fields.error("DURATION_INVALID", key, `${key} must be seconds or a text such as 30s, 5m or 2h`);
  }
  return milliseconds;
}

function readTarget(
  then: Fields,
  action: Rule["action"] | undefined,
  place: Place,
): string | undefined {
  const target = then.text("to");
  if (action !== "jump") {
    return undefined;
  }
  if (target === undefined) {
    then.report.error("JUMP_UNKNOWN", then.path, '"jump" needs "to", the label of a task');
    return undefined;
  }
  const label =
    PREVIOUS.has(target) && !place.labels.includes(target) ? place.labels[place.index - 1] : target;
  if (label === undefined || !place.labels.includes(label)) {
    const message = `no task of this step is named "${target}"${suggestion(target, place.labels)}`;
    then.error("JUMP_UNKNOWN", "to", message);
  }
  return label;
}

const RETRY_KEYS = [
  "enabled",
  "max_attempts",
  "attempts",
  "backoff",
  "delay",
  "initial_delay",
  "max_delay",
  "jitter",
  "retry_when",
  "when",
];
const RETRY_FAILURES = "{{ output.status == 'error' and output.error.retryable }}";
const RETRY_ALL_FAILURES = "{{ output.status == 'error' }}";

/** The older `retry` block of a task, as a policy. A sub-playbook is run again however it failed. */
export function readRetryBlock(task: Fields, kind: string): Policy | undefined {
  const value = task.get("retry");
  if (value === undefined || value === false) {
    return undefined;
  }
  task.legacy("retry", '"retry" became a rule with `do: retry`; write it as spec.policy.rules');
  const isShort = typeof value === "number" || value === true;
  const short: Json = typeof value === "number" ? { max_attempts: value } : {};
  const retry = Fields.of(task.report, isShort ? short : value, task.at("retry"));
  retry.checkKeys(RETRY_KEYS, ["retry_on", "multiplier", "backoff_multiplier", "stop_when"]);
  if (retry.flag("enabled") === false) {
    return undefined;
  }
  return { mode: "exclusive", rules: [retryRule(retry, kind)] };
}

function retryRule(retry: Fields, kind: string): Rule {
  const guardKey = retry.firstOf(["retry_when", "when"]);
  const guard = guardKey === undefined ? undefined : readGuard(retry, guardKey);
  const maxDelayMs = readDuration(retry, "max_delay");
  const attemptsKey = retry.firstOf(["max_attempts", "attempts"]) ?? "max_attempts";
  return {
    when: guard ?? (kind === "playbook" ? RETRY_ALL_FAILURES : RETRY_FAILURES),
    action: "retry",
    set: [],
    attempts: retry.integer(attemptsKey, 1) ?? ATTEMPTS_DEFAULT,
    ...readWait(retry, retry.firstOf(["delay", "initial_delay"]) ?? "delay"),
    hasJitter: retry.flag("jitter") ?? false,
    ...(maxDelayMs === undefined ? {} : { maxDelayMs }),
  };
}
