/** Event types as NoETL's clients spell them, and the older spellings that filters accept. */
import type { EventType } from "../engine/event.ts";

/** The log's own types under another name in the API. */
const API_NAMES: Readonly<Partial<Record<EventType, string>>> = {
  "step.entered": "step.enter",
  "step.exited": "step.exit",
};

/** Types that the API derives from the end of a command; see event-view.ts. */
const DERIVED: Readonly<Record<string, readonly EventType[]>> = {
  "command.claimed": ["call.done", "call.error", "loop.frame"],
  "command.started": ["call.done", "call.error", "loop.frame"],
  "command.completed": ["call.done", "loop.frame"],
  "command.failed": ["call.error"],
};

const SYNONYMS: Readonly<Record<string, string>> = {
  "step.entered": "step.enter",
  "step.started": "step.enter",
  "step.exited": "step.exit",
  "step.completed": "step.exit",
  "step.failed": "call.error",
  "action.started": "command.started",
  "action.completed": "call.done",
  "action.done": "call.done",
  "action.failed": "call.error",
  "playbook.initialized": "playbook.started",
  "workflow.initialized": "playbook.started",
  "execution.started": "playbook.started",
  "workflow.completed": "playbook.completed",
  "workflow.failed": "playbook.failed",
  "execution.cancelled": "playbook.cancelled",
};

const STORED_BY_API_NAME: Readonly<Record<string, EventType>> = {
  "step.enter": "step.entered",
  "step.exit": "step.exited",
};

export function apiEventName(type: EventType): string {
  return API_NAMES[type] ?? type;
}

/** One spelling for each type: `step_enter`, `step.entered` and `step.enter` are the same. */
export function canonicalEventName(name: string): string {
  const dotted = name.trim().toLowerCase().replaceAll("_", ".");
  return SYNONYMS[dotted] ?? dotted;
}

export interface EventNameFilter {
  /** In API spelling. */
  readonly names: ReadonlySet<string>;
  /** Types of the log from which these come. */
  readonly stored: readonly EventType[];
}

/** Reads `a,b`; undefined when nothing is asked for. */
export function readEventFilter(text: string | undefined): EventNameFilter | undefined {
  const names = (text ?? "")
    .split(",")
    .filter((name) => name.trim() !== "")
    .map(canonicalEventName);
  if (names.length === 0) {
    return undefined;
  }
  const stored = names.flatMap(
    (name) => DERIVED[name] ?? [STORED_BY_API_NAME[name] ?? (name as EventType)],
  );
  return { names: new Set(names), stored: [...new Set(stored)] };
}
