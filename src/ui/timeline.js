/** Steps on a time line: a row for each, a bar for each visit, parted into its runs. */
import { formatDuration, formatSpan } from "./format.js";
import { stepNote, stepStatus, waitNote } from "./progress.js";
import { h } from "./view.js";

/**
 * Bars of a step from `beginMs` to `endMs`, in parts of the whole from 0 to 1: `{left, width, status,
 * title}`, in order. Pure. Visits first, the runs within them after, so that these are drawn on top.
 */
export function barsOf(visits, { beginMs, endMs }) {
  const length = Math.max(1, endMs - beginMs);
  const place = (fromMs, toMs) => ({
    left: Math.min(1, Math.max(0, (fromMs - beginMs) / length)),
    width: Math.max(0, (toMs ?? endMs) - fromMs) / length,
  });
  const bars = [];
  for (const visit of visits) {
    const isWaiting = visit.endMs === undefined && visit.runs.at(-1)?.isWait;
    const status = isWaiting ? "waiting" : visit.status;
    const bar = { ...place(visit.beginMs, visit.endMs), status, kind: "visit" };
    bars.push({ ...bar, title: visitTitle(visit, endMs) });
    for (const run of visit.runs) {
      bars.push(...runBars(run, visit, place, endMs));
    }
  }
  return bars;
}

function runBars(run, visit, place, endMs) {
  const title = runTitle(run, endMs);
  const lastMs = run.endMs ?? visit.endMs;
  const status = run.isWait && run.endMs === undefined ? "waiting" : run.status;
  // Until the command has ended nobody has said when its worker began.
  const isQueued = run.beginMs === undefined;
  const bars = isQueued
    ? [{ ...place(run.queuedMs, lastMs), status, kind: "open", title }]
    : [{ ...place(run.beginMs, lastMs), status, kind: "run", title }];
  if (!isQueued && run.queuedMs !== undefined && run.beginMs > run.queuedMs) {
    bars.unshift({ ...place(run.queuedMs, run.beginMs), status, kind: "queued", title });
  }
  return bars;
}

function visitTitle({ number, status, beginMs, endMs }, nowMs) {
  return `visit ${number}: ${status}, ${formatDuration(((endMs ?? nowMs) - beginMs) / 1000)}`;
}

function runTitle({ attempt, what, status, queuedMs, beginMs, endMs }, nowMs) {
  const name = what ?? `attempt ${attempt}`;
  const span = (fromMs, toMs) => formatDuration(Math.max(0, toMs - fromMs) / 1000);
  const ran = beginMs === undefined ? "" : `, ran ${span(beginMs, endMs ?? nowMs)}`;
  const queued =
    beginMs === undefined || queuedMs === undefined
      ? ""
      : `, waited ${span(queuedMs, beginMs)} for a worker`;
  return `${name}: ${status === "yielded" ? "to be tried again" : status}${queued}${ran}`;
}

/** The rows; `draw(progress, span)` brings them up to date. `onSelect` gets a step's name. */
export function createTimeline({ onSelect }) {
  const list = h("div", { class: "steps" });
  const none = h("p", { class: "dim" }, "No step has begun.");
  const end = h("i");
  const axis = h("div", { class: "axis" }, h("span", {}, h("i", {}, "0"), end));
  const rows = new Map();
  list.addEventListener("click", (event) => {
    const name = event.target.closest(".step")?.dataset.step;
    if (name !== undefined) {
      onSelect(name);
    }
  });
  return {
    element: h("div", { class: "timeline" }, axis, none, list),
    draw: (progress, { beginMs, endMs, selected }) => {
      none.hidden = progress.steps.size > 0;
      axis.hidden = !none.hidden;
      end.textContent = formatDuration((endMs - beginMs) / 1000);
      for (const step of progress.steps.values()) {
        const row = rows.get(step.name) ?? addRow(list, step.name);
        rows.set(step.name, row);
        drawRow(row, step, { beginMs, endMs, isHere: step.name === selected });
      }
    },
  };
}

function addRow(list, name) {
  const row = {
    dot: h("span", { class: "dot" }),
    note: h("div", { class: "note" }),
    wait: h("div", { class: "waits" }),
    meter: h("i"),
    track: h("span", { class: "track" }),
    time: h("span", { class: "time" }),
    text: "",
  };
  row.progress = h("div", { class: "meter", hidden: true }, row.meter);
  row.element = h(
    "button",
    { "data-step": name },
    row.dot,
    h(
      "span",
      { class: "what" },
      h("div", { class: "name", title: name }, name),
      row.note,
      row.wait,
      row.progress,
    ),
    row.track,
    row.time,
  );
  list.append(row.element);
  return row;
}

function drawRow(row, step, { beginMs, endMs, isHere }) {
  const status = stepStatus(step);
  const last = step.visits.at(-1);
  setClass(row.element, `step${isHere ? " here" : ""}`);
  setClass(row.dot, `dot ${status}`);
  setText(row.note, stepNote(step));
  setText(row.wait, waitNote(step));
  row.note.title = step.retried ? `The last time after: ${step.retried}` : "";
  row.dot.title = status;
  row.element.setAttribute("aria-pressed", String(isHere));
  const isLoop = step.total > 0 && status !== "completed";
  row.progress.hidden = !isLoop;
  row.meter.style.width = isLoop ? `${(100 * (step.done + step.failed)) / step.total}%` : "0";
  setText(row.time, last ? spanText(last, endMs) : status);
  const bars = barsOf(step.visits, { beginMs, endMs });
  const text = JSON.stringify(bars);
  if (text !== row.text) {
    row.text = text;
    row.track.replaceChildren(...bars.map(barElement));
  }
}

function spanText({ beginMs, endMs }, nowMs) {
  return endMs === undefined
    ? formatSpan(nowMs - beginMs)
    : formatDuration((endMs - beginMs) / 1000);
}

function barElement({ left, width, status, kind, title }) {
  const bar = h("span", { class: `bar ${kind} ${status}`, title });
  // One at the very end is seen too.
  bar.style.left = `min(${100 * left}%, 100% - 3px)`;
  bar.style.width = `${100 * Math.min(width, 1 - left)}%`;
  return bar;
}

function setClass(element, name) {
  if (element.className !== name) {
    element.className = name;
  }
}

function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}
