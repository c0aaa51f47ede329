/** The list of executions, live. */
import { get, repeat } from "./client.js";
import { formatCount, formatDuration } from "./format.js";
import { createPager } from "./pager.js";
import {
  empty,
  errorCard,
  executionLink,
  h,
  liveTable,
  liveTime,
  pill,
  playbookLink,
  table,
} from "./view.js";

const PAGE = 50;
const HOUR_MS = 3_600_000;
const STATUSES = ["pending", "running", "completed", "failed", "cancelled"];
const SPANS = [
  ["", "any time"],
  [1, "last hour"],
  [24, "last day"],
  [168, "last week"],
];

const COLUMNS = [
  ["Status"],
  ["Playbook"],
  ["Execution", "wide"],
  ["Started"],
  ["Duration", "num"],
  ["Events", "num wide"],
];

export function listView(main, signal, query) {
  const filter = readFilter(query);
  const body = h("div", {}, h("div", { class: "empty" }, "Loading…"));
  const list = liveTable(COLUMNS, { key: (row) => row.execution_id, render: executionRow });
  const fail = (error) => body.replaceChildren(errorCard(error));
  const refresh = async () => {
    const asked = queryOf(filter, pager.offset());
    const rows = await get(`/api/executions?${asked}`, signal);
    list.update(rows.map(withoutClock));
    pager.draw(rows.length);
    const shown = rows.length === 0 ? empty(emptyText(filter)) : list.element;
    if (body.firstChild !== shown) {
      body.replaceChildren(shown, pager.element);
    }
  };
  const pager = createPager(PAGE, () => refresh().catch(fail));
  const change = (name) => (event) => {
    filter[name] = event.target.value;
    pager.reset();
    const search = String(new URLSearchParams(filled(filter)));
    history.replaceState(null, "", search ? `#/?${search}` : "#/");
    refresh().catch(fail);
  };
  main.replaceChildren(
    h(
      "div",
      { class: "row" },
      h("h1", { class: "grow" }, "Executions"),
      h("input", {
        type: "search",
        placeholder: "Filter by path",
        "aria-label": "Filter by path",
        "data-find": true,
        value: filter.path,
        oninput: change("path"),
      }),
      select("Status", [["", "any status"], ...STATUSES.map((each) => [each, each])], {
        value: filter.status,
        onchange: change("status"),
      }),
      select("Time", SPANS, { value: filter.hours, onchange: change("hours") }),
    ),
    body,
  );
  void repeat(signal, { ms: 2000, update: refresh, onError: fail });
}

export function select(label, options, { value, onchange }) {
  return h(
    "select",
    { "aria-label": label, onchange },
    options.map(([each, text]) =>
      h("option", { value: each, selected: String(each) === String(value) }, text),
    ),
  );
}

/** Path, status and hours, each "" for any. Pure, like the three that follow. */
export function readFilter(query) {
  const wanted = new URLSearchParams(query ?? "");
  const read = (name) => wanted.get(name) ?? "";
  return { path: read("path"), status: read("status"), hours: read("hours") };
}

export function queryOf({ path, status, hours }, offset, nowMs = Date.now()) {
  const since = hours === "" ? "" : new Date(nowMs - Number(hours) * HOUR_MS).toISOString();
  return String(new URLSearchParams(filled({ limit: PAGE, offset, path, status, since })));
}

function filled(values) {
  return Object.entries(values).filter(([, value]) => value !== "");
}

/** Its duration grows by itself: it is no change of the row. */
function withoutClock(row) {
  return row.completed_at === null ? { ...row, duration_seconds: null } : row;
}

function emptyText({ path, status, hours }) {
  return path || status || hours
    ? "No execution matches."
    : "No executions yet. Start one with `noetl exec PATH`, or run a file with `noetl run FILE --server-url " +
        `${location.origin}\`.`;
}

/** For where there is little room: executions of one playbook. */
export function briefTable(rows) {
  return table(
    [["Status"], ["Execution"], ["Started"], ["Duration", "num"]],
    rows.map((row) =>
      h(
        "tr",
        {},
        h("td", {}, pill(row.status, row.error)),
        h("td", {}, executionLink(row.execution_id)),
        h("td", {}, liveTime(row.started_at, "ago")),
        h("td", { class: "num" }, durationOf(row)),
      ),
    ),
  );
}

function durationOf(row) {
  return row.completed_at === null
    ? liveTime(row.started_at, "took")
    : formatDuration(row.duration_seconds);
}

function executionRow(row) {
  const href = `#/e/${row.execution_id}`;
  return h(
    "tr",
    {
      class: "link",
      onclick: (event) => {
        if (!event.target.closest("a")) {
          location.hash = href;
        }
      },
    },
    h("td", {}, h("a", { href, class: "plain" }, pill(row.status))),
    h(
      "td",
      {},
      playbookLink(row.path),
      h("span", { class: "dim" }, row.version ? ` v${row.version}` : ""),
      row.origin && h("span", { class: "dim" }, ` · ${row.origin.kind}`),
      row.waiting_reason && h("div", { class: "waits" }, row.waiting_reason),
      row.error &&
        h(
          "div",
          { class: row.status === "FAILED" ? "error clip" : "dim clip", title: row.error },
          row.error,
        ),
    ),
    h("td", { class: "wide" }, h("a", { class: "mono", href }, row.execution_id)),
    h("td", {}, liveTime(row.started_at, "ago")),
    h("td", { class: "num" }, durationOf(row)),
    h("td", { class: "num wide" }, formatCount(row.event_count)),
  );
}
