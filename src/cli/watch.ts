/** Follows an execution to its end and shows it: drawn over on a terminal, line by line elsewhere. */
import type { JsonObject } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { field, formatJson, rowsOf } from "./format.ts";
import type { TreeStyle, Visit } from "./tree.ts";
import { ExecutionTree, visitLines } from "./tree.ts";

export interface FollowFlags {
  /** Only the outcome, as JSON. */
  readonly json?: boolean | undefined;
  /** What becomes of the execution when the command is stopped; default: it goes on. */
  readonly fate?: string | undefined;
}

const REDRAW_MS = 100;

/** Shows the tree while it grows, then the result. Ends as the execution does. */
export async function followExecution(
  context: CliContext,
  api: Api,
  id: string,
  flags: FollowFlags,
): Promise<ExitReason> {
  const screen = chooseScreen(context, flags);
  const seen = new Set<string>();
  for await (const { event, data } of api.live(`/api/executions/${id}/events/stream`)) {
    const key = field(data, "event_id");
    if (event === "message" && !seen.has(key)) {
      seen.add(key);
      screen.apply(data);
    }
  }
  screen.end();
  if (context.signal.aborted) {
    context.note(`Stopped watching execution ${id}: ${flags.fate ?? "it goes on"}.`);
    return "failed";
  }
  return await showOutcome(context, api, id, flags);
}

async function showOutcome(
  { out }: CliContext,
  api: Api,
  id: string,
  flags: FollowFlags,
): Promise<ExitReason> {
  const execution = await api.getObject(`/api/executions/${id}`);
  const isCompleted = execution["status"] === "COMPLETED";
  if (flags.json === true) {
    const steps = rowsOf(await api.getObject(`/api/executions/${id}/steps`), "steps");
    out(formatJson({ ...withoutEvents(execution), steps }));
  } else if (isCompleted) {
    out(`\nCOMPLETED  execution ${id}\n${formatJson(execution["result"] ?? null)}`);
  } else {
    out(`\n${field(execution, "status")}  execution ${id}\n${field(execution, "error")}`);
  }
  return isCompleted ? "ok" : "failed";
}

function withoutEvents(execution: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(execution).filter(([name]) => name !== "events"));
}

/** Where the tree appears. */
interface Screen {
  apply(event: JsonObject): void;
  end(): void;
}

function chooseScreen(context: CliContext, flags: FollowFlags): Screen {
  if (flags.json === true) {
    return { apply: () => undefined, end: () => undefined };
  }
  return context.isTerminal ? drawnScreen(context) : printedScreen(context);
}

/** A line for each visit when it ends. */
function printedScreen({ out }: CliContext): Screen {
  const tree = new ExecutionTree();
  const style = (): TreeStyle => ({ hasColor: false, nowMs: Date.now() });
  const print = (visit: Visit): void => {
    for (const line of visitLines(visit, false, style())) {
      out(line);
    }
  };
  return {
    apply: (event) => {
      const ended = tree.apply(event);
      if (event["event_type"] === "playbook.started") {
        out(tree.name);
      }
      if (ended !== undefined) {
        print(ended);
      }
    },
    end: () => {
      out(`└─ ${tree.title(style())}`);
    },
  };
}

/** The whole tree, drawn again ten times a second. While it runs, only as much as fits. */
function drawnScreen({ out }: CliContext): Screen {
  const tree = new ExecutionTree();
  let drawn = 0;
  const draw = (crop: (lines: readonly string[]) => readonly string[]): void => {
    const shown = crop(tree.lines({ hasColor: true, nowMs: Date.now() }));
    const up = drawn === 0 ? "" : `\u001b[${drawn}A`;
    out(`${up}\u001b[0J${shown.join("\n")}`);
    drawn = shown.length;
  };
  const timer = setInterval(() => draw(fitTerminal), REDRAW_MS);
  return {
    apply: (event) => {
      tree.apply(event);
    },
    end: () => {
      clearInterval(timer);
      draw((lines) => lines);
    },
  };
}

/** The newest lines, none wider than the terminal: one that wraps could not be drawn over. */
function fitTerminal(lines: readonly string[]): readonly string[] {
  const { rows = 24, columns = 80 } = process.stdout;
  return lines.slice(-Math.max(5, rows - 2)).map((line) => Bun.sliceAnsi(line, 0, columns));
}
