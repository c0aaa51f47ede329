/**
 * Tests of all alerts for `promtool test rules`: each fires on its series, not before it has held, with the labels that
 * its texts show, and is silent on series that come near.
 */
import { stringify } from "yaml";
import type { Alert, Series } from "./alert.ts";
import { labelsOf } from "./alert.ts";

const AT_MINUTES = 60;

/** @param rulesFile best with this alert alone: promtool evaluates all rules for each test. */
export function ruleTest(rulesFile: string, alert: Alert): string {
  const document = {
    rule_files: [rulesFile],
    evaluation_interval: "30s",
    tests: [firingTest(alert), silentTest(alert)],
  };
  return stringify(document, { lineWidth: 0, aliasDuplicateObjects: false });
}

interface Expectation {
  readonly expr: string;
  readonly eval_time: string;
  readonly exp_samples: readonly { readonly labels: string; readonly value: number }[];
}

function firingTest(alert: Alert) {
  const { name, minutes, proof } = alert;
  const at = proof.atMinutes ?? AT_MINUTES;
  const early = minutes > 1 ? [expectation(countFiring(name), minutes - 1, 0)] : [];
  return group(`${name} fires`, proof.fires, [
    ...early,
    expectation(countFiring(name), at, 1),
    // Each label that a text shows is there: one that is not would be the empty string.
    ...labelsOf(alert)
      .filter((label) => !isOptional(alert, label))
      .map((label) => expectation(countFiring(name, `,${label}!=""`), at, 1)),
  ]);
}

/** Certificates come from one source or another, each with its own labels. */
function isOptional({ name }: Alert, label: string): boolean {
  return name === "CertificateExpiring" && label !== "instance";
}

function silentTest({ name, proof }: Alert) {
  const expected = [15, 30, 50, proof.atMinutes ?? AT_MINUTES].map((minute) =>
    expectation(countFiring(name), minute, 0),
  );
  return group(`${name} is silent`, proof.silent, expected);
}

function countFiring(name: string, more = ""): string {
  return `count(ALERTS{alertname="${name}",alertstate="firing"${more}}) or vector(0)`;
}

function expectation(expr: string, minutes: number, value: number): Expectation {
  return { expr, eval_time: `${minutes}m`, exp_samples: [{ labels: "{}", value }] };
}

function group(name: string, series: Series, expected: readonly Expectation[]) {
  return {
    name,
    interval: "30s",
    input_series: Object.entries(series).map(([one, values]) => ({ series: one, values })),
    promql_expr_test: expected,
  };
}
