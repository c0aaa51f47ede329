/** What was found, workload by workload. */
export const FAULT_KINDS = ["lost", "stuck", "doubled", "wrong"] as const;

export interface Finding {
  /**
   * `lost`: accepted, but unknown or known twice. `stuck`: not over after the quiet time, or with work
   * left behind. `doubled`: two ends of one thing, or more effects than tries. `wrong`: a wrong end,
   * a wrong or disordered result, a gap in a log, a limit that was not kept. `exhausted`, which is no
   * fault: failed because the work was lost more often than its limit of tries allows.
   */
  readonly kind: (typeof FAULT_KINDS)[number] | "exhausted";
  /** Empty: of none in particular. */
  readonly workload: string;
  readonly text: string;
}

export interface Tally {
  readonly workload: string;
  readonly accepted: number;
  /** Of the database, those that others started included. */
  readonly executions: number;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
}

export interface Verdict {
  readonly executions: number;
  readonly events: number;
  /** Commands that were handed out again. */
  readonly retried: number;
  readonly tallies: readonly Tally[];
  readonly findings: readonly Finding[];
}

/** What should not be there. */
export function faultsOf({ findings }: Pick<Verdict, "findings">): readonly Finding[] {
  return findings.filter(({ kind }) => kind !== "exhausted");
}

/** Lines with a row for each workload. */
export function tableOf(verdicts: readonly Verdict[]): readonly string[] {
  const tallies = Map.groupBy(
    verdicts.flatMap((verdict) => verdict.tallies),
    ({ workload }) => workload,
  );
  const findings = verdicts.flatMap((verdict) => verdict.findings);
  const names = [...new Set([...tallies.keys(), ...findings.map(({ workload }) => workload)])];
  const kinds = [...FAULT_KINDS, "exhausted"] as const;
  const counted = ["accepted", "executions", "completed", "failed", "cancelled"] as const;
  return [
    row("workload", [...counted, ...kinds]),
    ...names
      .sort()
      .map((name) =>
        row(name === "" ? "(the platform)" : name, [
          ...counted.map((key) => sum((tallies.get(name) ?? []).map((tally) => tally[key]))),
          ...kinds.map((kind) => countOf(findings, kind, name)),
        ]),
      ),
  ];
}

function countOf(findings: readonly Finding[], kind: Finding["kind"], workload: string): number {
  return findings.filter((found) => found.kind === kind && found.workload === workload).length;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function row(name: string, cells: readonly (string | number)[]): string {
  return name.padEnd(18) + cells.map((cell) => String(cell).padStart(11)).join("");
}
