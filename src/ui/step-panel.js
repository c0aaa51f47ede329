/** One step of an execution, and what came out of it; or the execution as a whole. */
import { get } from "./client.js";
import { failureView } from "./failure.js";
import { formatCount, formatDuration, formatSize, formatTime, plural, times } from "./format.js";
import { retryCount, stepStatus } from "./progress.js";
import { clippedView, valueView } from "./stored.js";
import { executionLink, fact, h, json, liveTime, pill, present } from "./view.js";

const FAILED_ITEMS = 50;

/** `row` is what the API says of the step, `seen` what the events do, `graph` its playbook or undefined. */
export function stepPanel({ row, seen, node, onClose, onLog, failedItems }) {
  const { step, error, error_details: details, result } = row;
  return present([
    h(
      "div",
      { class: "row" },
      h("h1", { class: "grow" }, step),
      pill(row.waiting ? "waiting" : row.status),
      h("button", { onclick: onClose, "aria-label": "Close", title: "Close (Escape)" }, "✕"),
    ),
    node?.description && h("p", { class: "dim" }, node.description),
    (details || error) && [h("h2", { class: "failed" }, "Error"), failureView(details, error)],
    stepFacts(row, seen, node),
    seen && retriedOf(row, seen),
    seen?.childCount > 0 && childLinks(seen),
    failedItems,
    row.status !== "running" || result
      ? h("details", { open: true }, h("summary", {}, "Result"), clippedView(row))
      : h("p", { class: "dim" }, "No result yet."),
    h("p", {}, h("button", { onclick: () => onLog(step) }, "Log of this step")),
  ]);
}

function stepFacts(row, seen, node) {
  const { started_at: began, finished_at: ended, visits, attempts } = row;
  const seconds = (Date.parse(ended) - Date.parse(began)) / 1000;
  const isLoop = seen?.total !== undefined;
  return h(
    "div",
    { class: "facts" },
    fact("tool", node?.tools.join(" → ")),
    fact("visits", String(visits ?? 0)),
    fact("attempts", String(attempts ?? 0)),
    isLoop && fact("items", loopText(seen)),
    isLoop && seen.frames > 0 && fact("frames", formatCount(seen.frames)),
    fact("pool", seen?.pool),
    fact("worker", seen?.worker),
    began && fact("began", formatTime(began)),
    began &&
      fact(ended ? "took" : "for", ended ? formatDuration(seconds) : liveTime(began, "took")),
  );
}

function loopText({ done, failed, total, issued }) {
  const running = Math.max(0, issued - done - failed);
  return present([
    `${formatCount(done)} of ${formatCount(total)} done`,
    failed > 0 && `, ${formatCount(failed)} failed`,
    running > 0 && `, ${formatCount(running)} at work`,
  ]);
}

/** How often tasks were tried again, and why unless the error says so too. */
function retriedOf(row, seen) {
  const count = retryCount(seen);
  const why = row.error?.includes(seen.retried) ? "" : seen.retried;
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

function childLinks({ children, childCount }) {
  return h(
    "p",
    {},
    childCount === 1 ? "Sub-playbook: " : `${plural(childCount, "sub-playbook")}: `,
    children.map((id) => [executionLink(id), " "]),
    childCount > children.length && "…",
  );
}

/** Failures of a loop's items, the newest last; undefined for a step without loop. */
export async function loadFailedItems(id, seen, signal) {
  if (seen?.total === undefined || seen.failed === 0) {
    return undefined;
  }
  const path = `/api/executions/${id}/events?event_type=call.error&limit=1000`;
  const { events } = await get(path, signal);
  const own = events.filter((event) => event.node_name === seen.name);
  const shown = own.slice(0, FAILED_ITEMS);
  return h(
    "details",
    { open: true },
    h("summary", {}, `Failed items (${formatCount(seen.failed)})`),
    h(
      "ul",
      { class: "items" },
      shown.map((event) => h("li", { class: "error" }, event.error)),
    ),
    seen.failed > shown.length && h("p", { class: "dim" }, `The first ${shown.length} are shown.`),
  );
}

/** Without a step: how it ended, what came out, what it was given, and its relations. */
export function executionPanel(row, { relations, onStep }) {
  const isLive = row.completed_at === null;
  return present([
    row.error && [
      h("h2", { class: "failed" }, "Error"),
      failureView(row.error_details, row.error, onStep),
    ],
    isLive && h("p", { class: "dim" }, "No result yet. Select a step to see what it does."),
    !isLive &&
      (row.result !== null || !row.error) &&
      h("details", { open: true }, h("summary", {}, "Result"), valueView(row.result, row.path)),
    h("details", { open: isLive }, h("summary", {}, "Workload"), json(row.workload)),
    relations.length > 0 && [
      h("h2", {}, "Related executions"),
      h("ul", { class: "items" }, relations.map(relationView)),
    ],
    !isLive && h("p", { class: "dim" }, "Select a step to see its result."),
  ]);
}

function relationView({ what, row }) {
  return h(
    "li",
    {},
    pill(row.status),
    ` ${what} `,
    executionLink(row.execution_id),
    h("span", { class: "dim" }, ` ${row.path}`),
  );
}

/** An event as it is. */
export function eventPanel(event, onClose) {
  return present([
    h(
      "div",
      { class: "row" },
      h("h1", { class: "grow" }, event.event_type),
      h("button", { onclick: onClose, "aria-label": "Close" }, "✕"),
    ),
    h(
      "div",
      { class: "facts" },
      fact("position", String(event.seq)),
      fact("of", event.node_name),
      fact("at", event.created_at),
      fact("size", formatSize(JSON.stringify(event).length)),
    ),
    json(event),
  ]);
}

/** What the API would say of a step that it does not know yet. */
export function unknownStep(name, seen) {
  return {
    step: name,
    status: stepStatus(seen),
    visits: 0,
    attempts: 0,
    error: null,
    result: null,
  };
}
