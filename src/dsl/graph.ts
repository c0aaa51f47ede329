/** How steps lead to each other: names that must exist, implicit arcs, steps that are never reached. */
import { suggestion } from "../template/nearest.ts";
import type { Next, Step } from "./playbook.ts";
import type { Fields, Report } from "./report.ts";
import type { PlacedStep } from "./step.ts";

const END_STEP = "end";

/**
 * The steps with their arcs. A step without `next` goes to `end` if nothing else leads there; the
 * final step, which is reached without arcs, is left out of that.
 */
export function linkSteps(
  report: Report,
  placed: readonly PlacedStep[],
  finalStep?: string,
): readonly Step[] {
  const names = new Set<string>();
  for (const { step, path } of placed) {
    if (step.name !== "" && names.has(step.name)) {
      report.error("STEP_DUPLICATE", path, `two steps are named "${step.name}"`);
    }
    names.add(step.name);
  }
  checkTargets(report, placed, names);
  const isEndImplicit =
    names.has(END_STEP) &&
    finalStep !== END_STEP &&
    !placed.some((source) => leadsTo(source, END_STEP));
  return placed.map((source) => ({
    ...source.step,
    next: readArcs(source, isEndImplicit && source.step.name !== finalStep),
  }));
}

/** `executor.spec.entry_step`, else the step named `start`, else the first. */
export function findEntry(executorSpec: Fields, steps: readonly Step[]): string {
  const names = steps.map((step) => step.name);
  const entry = executorSpec.text("entry_step");
  if (entry !== undefined && !names.includes(entry)) {
    const message = `there is no step "${entry}"${suggestion(entry, names)}`;
    executorSpec.error("ENTRY_UNKNOWN", "entry_step", message);
  }
  return entry ?? (names.includes("start") ? "start" : (names[0] ?? ""));
}

/** `executor.spec.final_step`, which must exist; it runs by itself, so arcs to it are doubtful. */
export function findFinal(executorSpec: Fields, placed: readonly PlacedStep[]): string | undefined {
  const final = executorSpec.text("final_step");
  const names = placed.map(({ step }) => step.name);
  if (final === undefined) {
    return undefined;
  }
  if (!names.includes(final)) {
    const message = `there is no step "${final}"${suggestion(final, names)}`;
    executorSpec.error("FINAL_UNKNOWN", "final_step", message);
  }
  if (placed.some((source) => leadsTo(source, final))) {
    const message = `arcs lead to "${final}" too: it runs for them, and once more at the end`;
    executorSpec.warn("FINAL_REACHED", "final_step", message);
  }
  return final;
}

interface Reach {
  readonly steps: readonly Step[];
  readonly entry: string;
  readonly final: string | undefined;
}

/** Warns of steps that no arc leads to. */
export function checkReachable(
  report: Report,
  placed: readonly PlacedStep[],
  { steps, entry, final }: Reach,
): void {
  const targets = new Map(steps.map((step) => [step.name, step.next.arcs.map((arc) => arc.step)]));
  const reached = new Set(final === undefined ? [entry] : [entry, final]);
  for (const name of reached) {
    for (const target of targets.get(name) ?? []) {
      reached.add(target);
    }
  }
  for (const { step, path } of placed) {
    if (step.name !== "" && !reached.has(step.name)) {
      report.warn("STEP_UNREACHABLE", path, `no arc leads to step "${step.name}"`);
    }
  }
}

function checkTargets(
  report: Report,
  placed: readonly PlacedStep[],
  names: ReadonlySet<string>,
): void {
  for (const { next } of placed) {
    for (const { arc, path } of next.arcs) {
      if (!names.has(arc.step)) {
        const message = `there is no step "${arc.step}"${suggestion(arc.step, names)}`;
        report.error("STEP_UNKNOWN", path, message);
      }
    }
  }
}

function leadsTo(source: PlacedStep, name: string): boolean {
  return source.next.arcs.some(({ arc }) => arc.step === name);
}

function readArcs(source: PlacedStep, isEndImplicit: boolean): Next {
  const { mode, onNoMatch, arcs, isWritten } = source.next;
  const isLast = isEndImplicit && !isWritten && source.step.name !== END_STEP;
  const implicit = isLast ? [{ step: END_STEP, set: [] }] : [];
  return { mode, onNoMatch, arcs: [...arcs.map(({ arc }) => arc), ...implicit] };
}
