/** Schedules: when they fire next, what became of their due times; pause, resume, run now. */
import { get, post, repeat } from "./client.js";
import { ask, jsonField, notify } from "./dialog.js";
import { formatDuration, formatSpan, formatTime } from "./format.js";
import { bodyWith } from "./json-text.js";
import {
  empty,
  errorCard,
  executionLink,
  fact,
  h,
  json,
  liveTable,
  liveTime,
  pill,
  playbookLink,
} from "./view.js";

const COLUMNS = [
  ["Schedule"],
  ["Starts", "wide"],
  ["When"],
  ["Next"],
  ["Last", "wide"],
  ["State"],
  ["", "num"],
];
const FIRING_COLUMNS = [["Due"], ["Kind", "wide"], ["Status"], ["Execution"], ["Reason", "wide"]];

const pathOf = (name) => `/api/schedules/${encodeURIComponent(name)}`;

export function schedulesView(main, signal) {
  const body = h("div", {}, h("div", { class: "empty" }, "Loading…"));
  main.replaceChildren(h("h1", {}, "Schedules"), body);
  const onError = (error) => body.replaceChildren(errorCard(error));
  const refresh = async () => {
    const { schedules } = await get("/api/schedules?limit=1000", signal);
    table.update(schedules);
    const shown =
      schedules.length === 0
        ? empty(
            "No schedules yet. Register a document of `kind: Schedule` with `noetl register FILE.yaml`.",
          )
        : table.element;
    if (body.firstChild !== shown) {
      body.replaceChildren(shown);
    }
  };
  const table = liveTable(COLUMNS, {
    key: ({ name }) => name,
    render: (row) => scheduleRow(row, () => refresh().catch(onError)),
  });
  void repeat(signal, { ms: 3000, update: refresh, onError });
}

function scheduleRow(row, onChange) {
  return h(
    "tr",
    {},
    h(
      "td",
      {},
      h("a", { href: `#/schedules/${encodeURIComponent(row.name)}` }, row.name),
      row.description && h("div", { class: "dim" }, row.description),
    ),
    h("td", { class: "wide" }, playbookLink(row.playbook)),
    h("td", {}, whenText(row)),
    h("td", {}, row.next_run_at ? liveTime(row.next_run_at, "left") : "–"),
    h("td", { class: "wide" }, row.last_firing ? lastOf(row.last_firing) : "–"),
    h("td", {}, stateOf(row)),
    h("td", { class: "num" }, buttonsOf(row, onChange)),
  );
}

function lastOf({ due, status, execution_id: id, execution_status: ended, reason }) {
  const state = pill(ended ?? status, reason);
  return [
    id ? h("a", { href: `#/e/${id}`, class: "plain" }, state) : state,
    h("div", { class: "dim" }, liveTime(due, "ago")),
  ];
}

/** The rule in words. Pure. */
export function whenText({ cron, interval_seconds: seconds, timezone }) {
  return cron === null ? `every ${formatSpan(seconds * 1000)}` : `${cron} (${timezone})`;
}

function stateOf({ enabled, next_run_at: next }) {
  if (!enabled) {
    return h("span", { class: "pill cancelled" }, "paused");
  }
  return next === null
    ? h("span", { class: "pill" }, "over")
    : h("span", { class: "pill completed" }, "active");
}

function buttonsOf(row, onChange) {
  const act = (action, done) => async (event) => {
    event.target.disabled = true;
    try {
      await post(`${pathOf(row.name)}/${action}`);
      notify(`Schedule ${row.name} ${done}`);
    } catch (error) {
      notify(error.message);
    }
    onChange();
  };
  return h(
    "div",
    { class: "row end" },
    row.enabled
      ? h("button", { class: "small", onclick: act("pause", "paused") }, "Pause")
      : h("button", { class: "small", onclick: act("resume", "resumed") }, "Resume"),
    h("button", { class: "small", onclick: () => askRun(row).then(onChange) }, "Run now…"),
  );
}

async function askRun(row) {
  const payload = jsonField("Payload, JSON", {
    value: row.payload ?? {},
    isObject: true,
    help: "Takes the place of the schedule's. Its templates see `schedule`.",
  });
  const answer = await ask({
    title: `Run ${row.name} now?`,
    text: `Starts ${row.playbook} whatever runs, paused or not.`,
    fields: [payload],
    confirm: "Run now",
    run: () => post(`${pathOf(row.name)}/run`, bodyWith("payload", payload.text())),
  });
  if (answer?.execution_id) {
    notify(`Execution ${answer.execution_id} started`);
  }
}

export async function scheduleView(main, signal, name) {
  const head = h("div");
  const firings = liveTable(FIRING_COLUMNS, { key: firingKey, render: firingRow });
  const body = h("div");
  const refresh = async () => {
    const [row, { next }, { firings: list }] = await Promise.all([
      get(pathOf(name), signal),
      get(`${pathOf(name)}/next?count=5`, signal),
      get(`${pathOf(name)}/firings?limit=50`, signal),
    ]);
    const text = JSON.stringify([row, next]);
    if (head.dataset.text !== text) {
      head.dataset.text = text;
      head.replaceChildren(...detailOf(row, next, () => refresh().catch(onError)));
    }
    firings.update(list);
    const shown = list.length === 0 ? empty("It has not fired yet.") : firings.element;
    if (body.firstChild !== shown) {
      body.replaceChildren(shown);
    }
  };
  const onError = (error) => body.replaceChildren(errorCard(error));
  await refresh();
  main.replaceChildren(head, h("h2", { class: "over" }, "Due times, newest first"), body);
  void repeat(signal, { ms: 3000, update: refresh, onError });
}

function detailOf(row, next, onChange) {
  return [
    h(
      "div",
      { class: "row" },
      h("h1", {}, row.name),
      stateOf(row),
      h("span", { class: "grow" }),
      buttonsOf(row, onChange),
    ),
    row.description ? h("p", { class: "dim" }, row.description) : "",
    h(
      "div",
      { class: "facts" },
      fact("starts", playbookLink(row.playbook)),
      fact("when", whenText(row)),
      fact("overlap", row.overlap),
      fact("catch-up", row.catchup),
      fact("jitter", row.jitter_seconds > 0 ? formatDuration(row.jitter_seconds) : ""),
      fact("from", formatTime(row.start_at)),
      fact("to", formatTime(row.end_at)),
    ),
    h(
      "div",
      { class: "columns even" },
      h(
        "div",
        { class: "card" },
        h("h2", {}, "Next due times"),
        next.length === 0
          ? h("p", { class: "dim" }, row.enabled ? "None." : "Paused: none until it is resumed.")
          : h(
              "ul",
              { class: "items" },
              next.map((due) => h("li", {}, formatTime(due), " ", liveTime(due, "left"))),
            ),
      ),
      h("div", { class: "card" }, h("h2", {}, "Payload"), json(row.payload ?? {})),
    ),
  ];
}

const firingKey = ({ due, kind }) => `${due} ${kind}`;

function firingRow(row) {
  return h(
    "tr",
    {},
    h("td", { title: row.due }, formatTime(row.due)),
    h("td", { class: "wide dim" }, row.kind),
    h("td", {}, pill(row.execution_status ?? row.status)),
    h("td", {}, row.execution_id ? executionLink(row.execution_id) : ""),
    h("td", { class: "wide dim" }, row.reason ?? ""),
  );
}
