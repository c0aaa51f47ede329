/** How the figures are shown and kept. */
import type { Limits } from "./limits.ts";
import { median } from "./statistics.ts";
import type { Figure } from "./workloads.ts";

export interface Result extends Figure {
  /** Value of each round; `value` is their median. */
  readonly rounds: readonly number[];
  /** Absent without a target. */
  readonly isMet?: boolean;
}

/** Medians over rounds that gave the same figures in the same order. */
export function summarize(rounds: readonly (readonly Figure[])[]): readonly Result[] {
  return (rounds[0] ?? []).map((figure, index) => {
    const values = rounds.flatMap((round) => round[index]?.value ?? []);
    const value = median(values);
    const { target } = figure;
    return {
      ...figure,
      value,
      rounds: values,
      ...(target === undefined ? {} : { isMet: isMet(value, target) }),
    };
  });
}

function isMet(value: number, target: NonNullable<Figure["target"]>): boolean {
  return "atMost" in target ? value <= target.atMost : value >= target.atLeast;
}

export function limitsTable(limits: Limits): string {
  return table([
    ["limit", "measured", "unit"],
    ["durable commit, one after another", number(limits.commitMs), "ms"],
    ["durable commits, 16 clients", number(limits.commitsPerSecond), "1/s"],
    ["rows in durable batches of 500", number(limits.batchedRowsPerSecond), "1/s"],
    ["JetStream publish with acknowledgement", number(limits.publishesPerSecond), "1/s"],
    ["JetStream publish to delivery", number(limits.deliveryMs), "ms"],
    ["gRPC unary, one after another", number(limits.rpcMs), "ms"],
    ["gRPC unary, 32 in flight", number(limits.rpcsPerSecond), "1/s"],
    ["warm Python pipe round trip", number(limits.pythonPipeMs), "ms"],
  ]);
}

export function resultTable(results: readonly Result[]): string {
  return table([
    ["workload", "median", "unit", "target", "", "rounds"],
    ...results.map(({ name, value, unit, target, isMet: met, rounds }) => [
      name,
      number(value),
      unit,
      targetText(target),
      verdict(met),
      rounds.map(number).join(" "),
    ]),
  ]);
}

function verdict(isReached: boolean | undefined): string {
  if (isReached === undefined) {
    return "";
  }
  return isReached ? "met" : "MISSED";
}

function targetText(target: Figure["target"]): string {
  if (target === undefined) {
    return "";
  }
  return "atMost" in target ? `≤ ${number(target.atMost)}` : `≥ ${number(target.atLeast)}`;
}

/** Three significant digits, more only where they stand before the point. */
function number(value: number): string {
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}

/** Columns as wide as their widest cell; numbers are not aligned to the right on purpose. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
