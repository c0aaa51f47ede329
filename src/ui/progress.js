/**
 * What the events so far say about each step; grows with every event. Takes the stream as it is and its
 * digest, where the items of a loop come summed up as `loop.progress`. Pure.
 */
import { formatCount, plural, times } from "./format.js";

/** Visits of a step, and runs within a visit, that are kept for the time line: the newest. */
const VISITS_MAX = 60;
const RUNS_MAX = 60;
const CHILDREN_MAX = 20;

export class Progress {
  /** By name, in the order in which they were first reached. */
  steps = new Map();
  status = "RUNNING";
  /** Position of the last event. */
  seq = 0;

  apply(event) {
    const timeMs = Date.parse(event.created_at);
    const type = event.event_type;
    this.seq = Math.max(this.seq, event.seq ?? 0);
    if (type.startsWith("playbook.")) {
      this.status = OUTCOMES[type] ?? (type === "playbook.resumed" ? "RUNNING" : this.status);
      if (OUTCOMES[type]) {
        this.#cutOff(timeMs);
      }
      return;
    }
    if (!event.node_name || event.node_name === "playbook") {
      return;
    }
    const step = this.#step(event.node_name);
    const visit = step.visits.findLast((each) => each.number === event.meta.visit);
    const apply = APPLY[type];
    noteRetries(step, event);
    // Items of a loop run side by side: only what a visit does as a whole has runs on the time line.
    const isWhole = event.meta.iteration_index === undefined && event.meta.puller === undefined;
    const runs = isWhole ? visit : undefined;
    apply?.(step, { event, visit, runs, timeMs, context: event.context ?? {} });
  }

  #step(name) {
    const step = this.steps.get(name) ?? newStep(name);
    this.steps.set(name, step);
    return step;
  }

  /** What still ran when the execution ended. */
  #cutOff(timeMs) {
    for (const step of this.steps.values()) {
      step.waits.clear();
      for (const visit of step.visits.filter((each) => each.status === "running")) {
        visit.status = "cancelled";
        visit.endMs = timeMs;
      }
    }
  }
}

const OUTCOMES = {
  "playbook.completed": "COMPLETED",
  "playbook.failed": "FAILED",
  "playbook.cancelled": "CANCELLED",
};

function newStep(name) {
  return {
    name,
    /** The newest; `{number, beginMs, endMs, status, runs}`. */
    visits: [],
    visitCount: 0,
    isSkipped: false,
    /** Of the newest visit, like the next four. */
    done: 0,
    failed: 0,
    /** Items; undefined: no loop. */
    total: undefined,
    frames: 0,
    isCursor: false,
    /** Items that have begun. */
    issued: 0,
    /** Times its commands were given out again, because a worker was lost or stopped. */
    handOuts: 0,
    /** By visit and item: how often policies had tasks tried again. */
    retries: new Map(),
    /** Message of the newest failure that was tried again. */
    retried: undefined,
    /** By item: what tasks wait for at the server. */
    waits: new Map(),
    rateLimit: undefined,
    /** Why none of its commands has a worker; set by who looks at the pools. */
    starved: undefined,
    children: [],
    childCount: 0,
    /** Of its newest command. */
    pool: undefined,
    worker: undefined,
    error: null,
    /** By index: how often each of its arcs fired. */
    arcs: new Map(),
  };
}

const itemOf = (event) => event.meta.iteration_index ?? "";

/** Events carry the sum of their run, so the newest one says it all. */
function noteRetries(step, event) {
  if (event.meta.retries) {
    const { count, last } = event.meta.retries;
    step.retries.set(`${event.meta.visit} ${event.meta.iteration_index}`, count);
    step.retried = last?.message ?? step.retried;
  }
}

/** What each type of event changes. */
const APPLY = {
  "step.enter": (step, { event, timeMs, context }) => {
    step.visitCount++;
    step.visits.push({ number: event.meta.visit, beginMs: timeMs, status: "running", runs: [] });
    step.visits.splice(0, step.visits.length - VISITS_MAX);
    step.error = null;
    // A retry keeps the items that went well.
    if (context.resumes === undefined) {
      step.done = 0;
      step.issued = 0;
      step.frames = 0;
      step.total = undefined;
    }
    step.failed = 0;
  },
  "step.exit": (step, { event, visit, timeMs, context }) => {
    if (visit) {
      visit.endMs = timeMs;
      visit.status = event.status === "FAILED" ? "failed" : "completed";
      endRun(visit, timeMs, visit.status);
    }
    step.waits.clear();
    step.error = event.error ?? step.error;
    for (const index of context.arcs ?? []) {
      step.arcs.set(index, (step.arcs.get(index) ?? 0) + 1);
    }
  },
  "step.skipped": (step) => {
    step.isSkipped = true;
  },
  "loop.started": (step, { context }) => {
    step.total = Math.max(step.total ?? 0, context.iterations_expected);
    step.isCursor = Boolean(context.cursor);
  },
  "loop.frame": (step, { context }) => {
    step.total = (step.total ?? 0) + context.items;
    step.frames += context.rows > 0 ? 1 : 0;
  },
  "loop.progress": applySum,
  "command.issued": (step, { event, runs, timeMs, context }) => {
    step.pool = context.pool;
    step.issued += event.meta.puller === undefined ? 1 : 0;
    beginRun(runs, { queuedMs: timeMs, attempt: event.meta.attempt ?? 1 });
  },
  "command.retried": (step, { event, runs, timeMs }) => {
    step.handOuts++;
    endRun(runs, timeMs, "cancelled");
    beginRun(runs, { queuedMs: timeMs, attempt: event.meta.attempt });
  },
  "command.adopted": (step, { event }) => {
    step.worker = event.meta.worker_id;
  },
  "command.yielded": (step, { runs, timeMs, context }) => {
    step.rateLimit = context.rate_limit ?? undefined;
    endRun(runs, timeMs, "yielded");
  },
  "command.cancelled": (_step, { visit, runs, timeMs }) => {
    if (visit) {
      visit.endMs = timeMs;
      visit.status = "cancelled";
      endRun(runs, timeMs, "cancelled");
    }
  },
  "child.started": (step, { runs, timeMs, context }) => {
    addChildren(step, [context.execution_id], 1);
    beginRun(runs, { beginMs: timeMs, what: "sub-playbook" });
  },
  "child.done": (step, { event, runs, timeMs }) => {
    endRun(runs, timeMs, event.error ? "failed" : "completed");
    countEnd(step, event);
  },
  "wait.started": (step, { event, runs, timeMs, context }) => {
    step.waits.set(itemOf(event), { ...context, sinceMs: timeMs });
    beginRun(runs, { beginMs: timeMs, what: "wait", isWait: true });
  },
  "wait.done": (step, { event, runs, timeMs }) => {
    step.waits.delete(itemOf(event));
    endRun(runs, timeMs, event.error ? "failed" : "completed");
    countEnd(step, event);
  },
  "call.done": applyCall,
  "call.error": applyCall,
};

function applyCall(step, { event, runs, timeMs }) {
  const isGood = event.event_type === "call.done";
  step.worker = event.meta.worker_id ?? step.worker;
  const run = runs?.runs.at(-1);
  if (run && event.meta.started_at) {
    run.beginMs = Date.parse(event.meta.started_at);
  }
  endRun(runs, timeMs, isGood ? "completed" : "failed");
  // What a cursor's puller does itself is no item.
  if (event.meta.puller === undefined) {
    step[isGood ? "done" : "failed"]++;
  }
  step.error = event.error ?? step.error;
}

function countEnd(step, event) {
  step[event.error ? "failed" : "done"]++;
  step.error = event.error ?? step.error;
}

/** Items of a loop, since the last time. */
function applySum(step, { event, context }) {
  step.done += context.done;
  step.failed += context.failed;
  step.issued += context.issued;
  step.frames += context.frames;
  step.handOuts += context.handed_out;
  if (context.items > 0) {
    step.total = (step.total ?? 0) + context.items;
  }
  for (const [index, count] of Object.entries(context.retried)) {
    step.retries.set(`${event.meta.visit} ${index}`, count);
  }
  step.retried = context.retried_after ?? step.retried;
  step.rateLimit = context.rate_limit ?? step.rateLimit;
  step.pool = context.pool ?? step.pool;
  step.worker = context.worker ?? step.worker;
  step.error = event.error ?? step.error;
  addChildren(step, context.children, context.children.length);
}

function addChildren(step, ids, count) {
  step.children.push(...ids);
  step.children.splice(0, step.children.length - CHILDREN_MAX);
  step.childCount += count;
}

function beginRun(visit, run) {
  if (visit) {
    visit.runs.push({ status: "running", ...run });
    visit.runs.splice(0, visit.runs.length - RUNS_MAX);
  }
}

function endRun(visit, endMs, status) {
  const run = visit?.runs.at(-1);
  if (run && run.endMs === undefined) {
    run.endMs = endMs;
    run.status = status;
  }
}

/** running, waiting, completed, failed, cancelled, skipped, or idle: never reached. */
export function stepStatus(step) {
  const status = step?.visits.at(-1)?.status;
  if (status === "running" && (step.waits.size > 0 || step.starved !== undefined)) {
    return "waiting";
  }
  return status ?? (step?.isSkipped ? "skipped" : "idle");
}

/** One line: items, frames, visits, retries. */
export function stepNote(step) {
  const notes = [];
  if (step.total !== undefined) {
    const ended = formatCount(step.done + step.failed);
    notes.push(`${ended}/${formatCount(step.total)} items`);
  }
  if (step.isCursor && step.frames > 0) {
    notes.push(plural(step.frames, "frame"));
  }
  if (step.total !== undefined && step.failed > 0) {
    notes.push(`${formatCount(step.failed)} failed`);
  }
  if (step.visitCount > 1) {
    notes.push(`${formatCount(step.visitCount)} visits`);
  }
  const retries = retryCount(step);
  if (retries > 0) {
    notes.push(`tried again ${times(retries)}`);
  }
  if (step.handOuts > 0) {
    notes.push(`handed out again ${times(step.handOuts)}`);
  }
  return notes.join(" · ");
}

/** What it waits for at the server; "" for one that does not. */
export function waitNote(step) {
  const [first] = step.waits.values();
  if (first === undefined) {
    if (step.starved !== undefined && stepStatus(step) === "waiting") {
      return step.starved;
    }
    return step.rateLimit && stepStatus(step) === "running"
      ? `waits for rate limit ${step.rateLimit}`
      : "";
  }
  const what = first.signal ? `waits for signal ${first.signal}` : "waits for its time";
  return step.waits.size === 1 ? what : `${what} (and ${step.waits.size - 1} more)`;
}

export function retryCount(step) {
  return [...step.retries.values()].reduce((sum, count) => sum + count, 0);
}
