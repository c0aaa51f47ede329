/** What the events so far say about each step; grows with every event. */
export class Progress {
  steps = new Map();
  status = "RUNNING";

  apply(event) {
    const timeMs = Date.parse(event.created_at);
    const type = event.event_type;
    if (type.startsWith("playbook.")) {
      this.status =
        { completed: "COMPLETED", failed: "FAILED", cancelled: "CANCELLED" }[type.slice(9)] ??
        this.status;
      return;
    }
    if (!event.node_name || event.node_name === "playbook") {
      return;
    }
    const step = this.#step(event.node_name);
    const visit = step.visits.findLast((each) => each.number === event.meta.visit);
    if (event.meta.retries) {
      const { count, last } = event.meta.retries;
      step.retries.set(`${event.meta.visit} ${event.meta.iteration_index}`, count);
      step.retried = last?.message ?? step.retried;
    }
    if (type === "step.enter") {
      step.visits.push({ number: event.meta.visit, beginMs: timeMs, status: "running" });
      step.done = step.failed = 0;
      step.total = undefined;
      step.error = null;
    } else if (type === "step.exit" && visit) {
      visit.endMs = timeMs;
      visit.status = event.status === "FAILED" ? "failed" : "completed";
    } else if (type === "step.skipped") {
      step.isSkipped = true;
    } else if (type === "loop.started") {
      step.total = event.context.iterations_expected;
    } else if (type === "loop.frame") {
      step.total += event.context.items;
    } else if (type === "command.issued") {
      step.pool = event.context.pool;
    } else if (type === "command.retried") {
      step.handOuts++;
    } else if (type === "command.cancelled" && visit) {
      visit.endMs = timeMs;
      visit.status = "cancelled";
    } else if (type === "child.started") {
      step.children.push(event.context.execution_id);
    } else if (type === "call.done" || type === "call.error") {
      step.worker = event.meta.worker_id;
      // What a cursor's puller does itself is no item.
      if (event.meta.puller === undefined) {
        step[type === "call.done" ? "done" : "failed"]++;
      }
      if (event.error) {
        step.error = event.error;
      }
    }
  }

  #step(name) {
    let step = this.steps.get(name);
    if (!step) {
      step = {
        name,
        visits: [],
        done: 0,
        failed: 0,
        total: undefined,
        /** Times its commands were given out again, because a worker was lost or stopped. */
        handOuts: 0,
        /** By visit and item: how often policies had tasks tried again. */
        retries: new Map(),
        /** Message of the newest failure that was tried again. */
        retried: undefined,
        children: [],
        /** Of its newest command. */
        pool: undefined,
        error: null,
      };
      this.steps.set(name, step);
    }
    return step;
  }
}

export function stepStatus(step) {
  return step.visits.at(-1)?.status ?? (step.isSkipped ? "skipped" : "waiting");
}

export function stepNote(step) {
  const notes = [];
  if (step.total !== undefined) {
    notes.push(`${step.done + step.failed}/${step.total} items`);
  }
  if (step.total !== undefined && step.failed > 0) {
    notes.push(`${step.failed} failed`);
  }
  if (step.visits.length > 1) {
    notes.push(`${step.visits.length} visits`);
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

export function times(count) {
  return count === 1 ? "once" : `${count} times`;
}

export function retryCount(step) {
  return [...step.retries.values()].reduce((sum, count) => sum + count, 0);
}
