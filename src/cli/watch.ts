/** Follows an execution to its end and shows it: drawn over on a terminal, line by line elsewhere. */
import type { JsonObject } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { field, formatJson, rowsOf } from "./format.ts";
import { followReasons } from "./reasons.ts";
import { ExecutionTree } from "./tree.ts";
import type { TreeStyle } from "./tree-lines.ts";
import { paint, visitLines } from "./tree-lines.ts";
import type { Visit } from "./tree-visit.ts";

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
  const ended = new AbortController();
  const signal = AbortSignal.any([context.signal, ended.signal]);
  if (screen.explain !== undefined) {
    void followReasons(api, id, { signal, onChange: screen.explain });
  }
  try {
    for await (const { event, data } of api.live(
      `/api/executions/${id}/events/stream?digest=true`,
    )) {
      for (const each of event === "message" ? rowsOf(data, "events") : []) {
        screen.apply(each);
      }
    }
  } finally {
    ended.abort();
    screen.end();
  }
  if (context.signal.aborted) {
    context.note(`Stopped watching execution ${id}: ${flags.fate ?? "it goes on"}.`);
    return "failed";
  }
  return await showOutcome(context, api, id, flags);
}

/** `noetl watch`: the same; with `json` the events, each an object on a line. */
export async function watch(
  context: CliContext,
  api: Api,
  id: string,
  { json }: { readonly json?: boolean | undefined },
): Promise<ExitReason> {
  await api.getObject(`/api/executions/${id}/status`);
  return json === true
    ? await printEvents(context, api, id)
    : await followExecution(context, api, id, {});
}

async function printEvents({ out, signal }: CliContext, api: Api, id: string): Promise<ExitReason> {
  let last = 0;
  let status = "";
  for await (const { event, data } of api.live(`/api/executions/${id}/events/stream`)) {
    // Ids ascend; after a lost connection some come again.
    const position = Number(field(data, "event_id"));
    if (event === "end") {
      status = field(data, "status");
    } else if (position > last) {
      last = position;
      out(JSON.stringify(data));
    }
  }
  return status === "COMPLETED" && !signal.aborted ? "ok" : "failed";
}

async function showOutcome(
  { out }: CliContext,
  api: Api,
  id: string,
  flags: FollowFlags,
): Promise<ExitReason> {
  const execution = await api.getObject(`/api/executions/${id}?events=false`);
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
  /** Takes the reasons why it does not go on, whenever they are others. */
  explain?(reasons: readonly string[]): void;
}

function chooseScreen(context: CliContext, flags: FollowFlags): Screen {
  if (flags.json === true) {
    return { apply: () => undefined, end: () => undefined };
  }
  return context.isTerminal ? drawnScreen(context) : printedScreen(context);
}

/** A line for each visit when it ends. */
function printedScreen({ out, note }: CliContext): Screen {
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
    explain: (reasons) => {
      for (const reason of reasons) {
        note(reason);
      }
    },
  };
}

/** The tree, drawn again ten times a second. While it runs, only as much as fits. */
function drawnScreen({ out }: CliContext): Screen {
  const tree = new ExecutionTree();
  let reasons: readonly string[] = [];
  let drawn = 0;
  const draw = (limit: number | undefined): void => {
    const style = { hasColor: true, nowMs: Date.now() };
    const lines = [
      ...tree.lines(style, limit),
      ...reasons.map((reason) => paint(`   ${reason}`, "33", true)),
    ];
    const shown = limit === undefined ? lines : fitTerminal(lines, limit);
    const up = drawn === 0 ? "" : `\u001b[${drawn}A`;
    out(`${up}\u001b[0J${shown.join("\n")}`);
    drawn = shown.length;
  };
  const timer = setInterval(() => draw(terminalRows()), REDRAW_MS);
  return {
    apply: (event) => {
      tree.apply(event);
    },
    end: () => {
      clearInterval(timer);
      reasons = [];
      draw(undefined);
    },
    explain: (now) => {
      reasons = now;
    },
  };
}

function terminalRows(): number {
  return Math.max(5, (process.stdout.rows ?? 24) - 2);
}

/** The newest lines, none wider than the terminal: one that wraps could not be drawn over. */
function fitTerminal(lines: readonly string[], rows: number): readonly string[] {
  const { columns = 80 } = process.stdout;
  return lines.slice(-rows).map((line) => Bun.sliceAnsi(line, 0, columns));
}
