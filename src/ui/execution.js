/** One execution, live: its steps on a time line, its log, its result. */
import { call, follow, get, repeat } from "./client.js";
import { Progress, retryCount, stepNote, stepStatus, times } from "./progress.js";
import { bars, formatDuration, formatTime, h, json, pill, show } from "./view.js";

const LOG_LINES_MAX = 2000;

export async function executionView(main, signal, id) {
  let row = await summary(id, signal);
  const progress = new Progress();
  const head = h("div");
  const steps = h("div");
  const axis = h("div", { class: "axis" });
  const side = h("div");
  const log = h("pre", { class: "log", tabindex: "0", "aria-label": "Log" });
  let selected;
  let isDirty = true;
  const rows = new Map();
  /** Pools without a worker, and what to say of them. */
  let waiting = new Map();

  const draw = () => {
    isDirty = false;
    const isLive = row.completed_at === null;
    const beginMs = Date.parse(row.started_at);
    const endMs = Math.max(beginMs, isLive ? Date.now() : Date.parse(row.completed_at));
    head.replaceChildren(...headOf(row, endMs - beginMs, isLive));
    axis.replaceChildren(
      h("span"),
      h("span"),
      h("span", {}, h("i", {}, "0"), h("i", {}, formatDuration((endMs - beginMs) / 1000))),
      h("span"),
    );
    for (const step of progress.steps.values()) {
      drawStep(rows, steps, step, {
        beginMs,
        endMs,
        isHere: step.name === selected,
        waiting,
      });
    }
  };
  const select = async (name) => {
    selected = name;
    isDirty = true;
    if (name === undefined) {
      return side.replaceChildren(...endOf(row));
    }
    const { steps: list } = await get(`/api/executions/${id}/steps`, signal);
    if (selected !== name) {
      return;
    }
    side.replaceChildren(
      ...stepOf(
        list.find((each) => each.step === name) ?? { step: name, status: "waiting" },
        progress.steps.get(name),
        () => select(undefined),
      ),
    );
  };
  steps.addEventListener("click", (event) => {
    const name = event.target.closest(".step")?.dataset.step;
    if (name) {
      select(name).catch((error) => show(main, error));
    }
  });

  main.replaceChildren(
    head,
    h(
      "div",
      { class: "columns" },
      h(
        "div",
        {},
        h("div", { class: "card" }, h("h2", {}, "Steps"), axis, steps),
        h("div", { class: "card" }, h("h2", {}, "Log"), log),
      ),
      h("div", { class: "card" }, side),
    ),
  );
  side.replaceChildren(...endOf(row));
  const timer = setInterval(() => (isDirty || row.completed_at === null) && draw(), 100);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });

  const ended = new AbortController();
  void repeat(AbortSignal.any([signal, ended.signal]), {
    ms: 3000,
    update: async () => {
      waiting = await emptyPools(signal);
    },
    onError: () => undefined,
  });
  void follow(`/api/executions/${id}/logs/stream`, signal, (line) => addLine(log, line));
  await follow(`/api/executions/${id}/events/stream`, signal, (event) => {
    progress.apply(event);
    isDirty = true;
  });
  ended.abort();
  if (signal.aborted) {
    return;
  }
  row = await summary(id, signal);
  isDirty = true;
  await select(selected);
}

async function emptyPools(signal) {
  const pools = await get("/api/worker/pools?status=no_workers", signal);
  return new Map(pools.map(({ name, waiting_reason: reason }) => [name, reason ?? ""]));
}

/** Without events: those come by the stream. */
async function summary(id, signal) {
  const { events: _events, ...row } = await get(`/api/executions/${id}`, signal);
  return row;
}

function headOf(row, ms, isLive) {
  const fact = (name, value) => value && h("span", {}, `${name} `, h("b", {}, value));
  return [
    h(
      "div",
      { class: "row" },
      h("h1", {}, row.path),
      row.version && h("span", { class: "dim" }, `v${row.version}`),
      pill(row.status),
      h("span", { class: "grow" }),
      isLive &&
        h("button", { class: "danger", onclick: () => askCancel(row.execution_id) }, "Cancel…"),
    ),
    h(
      "div",
      { class: "facts" },
      fact("id", h("span", { class: "mono" }, row.execution_id)),
      fact("started", formatTime(row.started_at)),
      fact(isLive ? "running for" : "took", formatDuration(ms / 1000)),
      row.parent_execution_id &&
        fact(
          "part of",
          h(
            "a",
            { class: "mono", href: `#/e/${row.parent_execution_id}` },
            row.parent_execution_id,
          ),
        ),
    ),
  ];
}

function drawStep(rows, list, step, { beginMs, endMs, isHere, waiting }) {
  let row = rows.get(step.name);
  if (!row) {
    row = {
      dot: h("span", { class: "dot" }),
      more: h("div", { class: "more" }),
      track: h("span", { class: "track" }),
      time: h("span", { class: "time" }),
    };
    row.element = h(
      "button",
      { "data-step": step.name },
      h("span", {}, row.dot),
      h("span", {}, h("div", { class: "name", title: step.name }, step.name), row.more),
      row.track,
      row.time,
    );
    rows.set(step.name, row);
    list.append(row.element);
  }
  const status = stepStatus(step);
  row.element.className = `step${isHere ? " here" : ""}`;
  row.dot.className = `dot ${status}`;
  row.more.replaceChildren(stepNote(step));
  if (status === "running" && waiting.has(step.pool)) {
    row.more.append(h("div", { class: "waits" }, waiting.get(step.pool)));
  }
  row.more.title = step.retried ?? "";
  row.track.replaceChildren(...bars(step.visits, beginMs, endMs));
  const last = step.visits.at(-1);
  row.time.textContent = last
    ? formatDuration(((last.endMs ?? endMs) - last.beginMs) / 1000)
    : status;
}

function stepOf(step, seen, close) {
  return [
    h(
      "div",
      { class: "row" },
      h("h1", { class: "grow" }, step.step),
      pill(step.status),
      h("button", { onclick: close, "aria-label": "Close" }, "✕"),
    ),
    h(
      "div",
      { class: "facts" },
      h("span", {}, "visits ", h("b", {}, String(step.visits ?? 0))),
      h("span", {}, "attempts ", h("b", {}, String(step.attempts ?? 0))),
      seen?.worker && h("span", {}, "worker ", h("b", {}, seen.worker)),
    ),
    seen?.children.length > 0 &&
      h(
        "p",
        {},
        "Sub-playbook: ",
        seen.children.map((id) => h("a", { class: "mono", href: `#/e/${id}` }, `${id} `)),
      ),
    seen && retriedOf(step, seen),
    step.error && [
      h("h2", { class: "failed" }, "Error"),
      h(
        "pre",
        { class: "error" },
        step.error_details?.stderr ? `${step.error}\n\n${step.error_details.stderr}` : step.error,
      ),
    ],
    h("details", { open: true }, h("summary", {}, "Result"), json(step.result ?? null)),
  ]
    .flat()
    .filter(Boolean);
}

/** How often tasks were tried again, and why unless the error says so too. */
function retriedOf(step, seen) {
  const count = retryCount(seen);
  const why = step.error?.includes(seen.retried) ? "" : seen.retried;
  return (
    count > 0 &&
    h(
      "p",
      { class: "retried" },
      h("b", {}, `Tried again ${times(count)}`),
      why && `, the last time after: ${why}`,
    )
  );
}

function endOf(row) {
  return [
    row.error && [
      h("h2", { class: "failed" }, "Error"),
      h(
        "pre",
        { class: "error" },
        row.error_details?.stderr ? `${row.error}\n\n${row.error_details.stderr}` : row.error,
      ),
    ],
    h(
      "details",
      { open: true },
      h("summary", {}, row.completed_at ? "Result" : "Result (still running)"),
      json(row.result ?? null),
    ),
    h("details", {}, h("summary", {}, "Workload"), json(row.workload)),
    h("p", { class: "dim" }, "Select a step to see its result."),
  ]
    .flat()
    .filter(Boolean);
}

function addLine(log, line) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const index = line.index === null ? "" : `[${line.index}]`;
  log.append(
    h(
      "div",
      {},
      h("span", { class: "who" }, `${line.step}${index} `),
      h("span", { class: line.stream }, line.text),
    ),
  );
  if (log.childElementCount > LOG_LINES_MAX) {
    log.firstElementChild.remove();
  }
  if (isAtEnd) {
    log.scrollTop = log.scrollHeight;
  }
}

function askCancel(id) {
  const dialog = document.getElementById("cancel");
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.addEventListener(
    "close",
    () => {
      if (dialog.returnValue !== "yes") {
        return;
      }
      const reason = dialog.querySelector("input").value || "cancelled on the page";
      call(`/api/executions/${id}/cancel`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ reason }),
      }).catch((error) => alert(error.message));
    },
    { once: true },
  );
}
