/** Subscriptions: messages and hooks that start playbooks; and what could not be dispatched. */
import { get, post, repeat, send } from "./client.js";
import { ask, notify } from "./dialog.js";
import { formatTime, plural, times } from "./format.js";
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

const COLUMNS = [["Subscription"], ["Source"], ["Starts", "wide"], ["State"], ["", "num"]];
const LETTER_COLUMNS = [["When"], ["Error"], ["Messages", "wide"], ["", "num"]];
const DISPATCH_COLUMNS = [["When"], ["Status"], ["Messages", "num wide"], ["Execution"]];

const pathOf = (key) => `/api/subscriptions/${encodeURIComponent(key)}`;

export function subscriptionsView(main, signal) {
  const body = h("div", {}, h("div", { class: "empty" }, "Loading…"));
  main.replaceChildren(h("h1", {}, "Subscriptions"), body);
  const onError = (error) => body.replaceChildren(errorCard(error));
  const refresh = async () => {
    const { subscriptions } = await get("/api/subscriptions?limit=1000", signal);
    table.update(subscriptions);
    const shown =
      subscriptions.length === 0
        ? empty(
            "No subscriptions yet. Register a document of `kind: Subscription` with `noetl register FILE.yaml`.",
          )
        : table.element;
    if (body.firstChild !== shown) {
      body.replaceChildren(shown);
    }
  };
  const table = liveTable(COLUMNS, {
    key: (row) => row.subscription_id,
    render: (row) => subscriptionRow(row, () => refresh().catch(onError)),
  });
  void repeat(signal, { ms: 3000, update: refresh, onError });
}

function subscriptionRow(row, onChange) {
  return h(
    "tr",
    {},
    h(
      "td",
      {},
      h("a", { href: `#/subscriptions/${encodeURIComponent(row.path)}` }, row.path),
      row.problem && h("div", { class: "error" }, row.problem),
    ),
    h("td", {}, sourceText(row)),
    h("td", { class: "wide" }, playbookLink(row.playbook)),
    h("td", {}, stateOf(row)),
    h("td", { class: "num" }, buttonOf(row, onChange)),
  );
}

/** Pure. */
export function sourceText({ source, subject, hook }) {
  return source === "webhook" ? `POST ${hook}` : `${source} ${subject ?? ""}`.trim();
}

const STATES = { active: "completed", paused: "cancelled", draining: "running" };

function stateOf({ state, circuit }) {
  const isOpen = circuit !== null && circuit !== undefined && circuit !== "closed";
  return [
    h("span", { class: `pill ${STATES[state] ?? ""}` }, state),
    isOpen && h("div", { class: "error" }, `circuit ${circuit}`),
  ];
}

function buttonOf(row, onChange) {
  const action = row.state === "active" ? "pause" : "activate";
  return h(
    "button",
    {
      class: "small",
      onclick: async (event) => {
        event.target.disabled = true;
        await post(`${pathOf(row.subscription_id)}/${action}`).catch((error) =>
          notify(error.message),
        );
        onChange();
      },
    },
    action === "pause" ? "Pause" : "Activate",
  );
}

export async function subscriptionView(main, signal, key) {
  const head = h("div");
  const lettersBody = h("div");
  const dispatchesBody = h("div");
  const again = () => refresh().catch(onError);
  const letters = liveTable(LETTER_COLUMNS, {
    key: (row) => row.dispatch_id,
    render: (row) => letterRow(row, key, again),
  });
  const dispatches = liveTable(DISPATCH_COLUMNS, {
    key: (row) => row.dispatch_id,
    render: dispatchRow,
  });
  const refresh = async () => {
    const [row, { dead_letters: dead }, { dispatches: list }] = await Promise.all([
      get(pathOf(key), signal),
      get(`${pathOf(key)}/dead-letters?limit=100`, signal),
      get(`${pathOf(key)}/dispatches?limit=20`, signal),
    ]);
    const text = JSON.stringify([row, dead.length]);
    if (head.dataset.text !== text) {
      head.dataset.text = text;
      head.replaceChildren(...headOf(row, dead.length, again));
    }
    letters.update(dead);
    dispatches.update(list);
    place(lettersBody, dead.length === 0 ? empty("No dead letters.") : letters.element);
    place(
      dispatchesBody,
      list.length === 0 ? empty("No message has come yet.") : dispatches.element,
    );
  };
  const onError = (error) => lettersBody.replaceChildren(errorCard(error));
  await refresh();
  main.replaceChildren(
    head,
    h("h2", { class: "over" }, "Dead letters"),
    lettersBody,
    h("h2", { class: "over" }, "Newest messages"),
    dispatchesBody,
  );
  void repeat(signal, { ms: 3000, update: refresh, onError });
}

function place(body, shown) {
  if (body.firstChild !== shown) {
    body.replaceChildren(shown);
  }
}

function headOf(row, deadCount, onChange) {
  return [
    h(
      "div",
      { class: "row" },
      h("h1", {}, row.path),
      stateOf(row),
      h("span", { class: "grow" }),
      deadCount > 0 &&
        h(
          "button",
          { class: "primary", onclick: () => askReplay(row, deadCount, onChange) },
          "Replay all…",
        ),
      buttonOf(row, onChange),
    ),
    h(
      "div",
      { class: "facts" },
      fact("source", sourceText(row)),
      fact("starts", playbookLink(row.playbook)),
      fact("taken by", row.holder),
      fact("changed", formatTime(row.updated_at)),
    ),
    row.problem ? h("div", { class: "card error" }, row.problem) : "",
  ];
}

async function askReplay(row, count, onChange) {
  const answer = await ask({
    title: "Dispatch all dead letters again?",
    text: `${count === 100 ? "100 or more" : count} of ${row.path} start ${row.playbook} if they can be dispatched now.`,
    confirm: "Replay all",
    run: () => post(`${pathOf(row.subscription_id)}/dead-letters/replay`),
  });
  if (answer !== undefined) {
    notify(`${plural(answer.replayed, "dead letter")} dispatched again`);
    onChange();
  }
}

function letterRow(row, key, onChange) {
  const path = `${pathOf(key)}/dead-letters/${row.dispatch_id}`;
  const act = (work) => async (event) => {
    event.target.disabled = true;
    await work().catch((error) => notify(error.message));
    onChange();
  };
  return h(
    "tr",
    {},
    h("td", {}, liveTime(row.created_at, "ago")),
    h(
      "td",
      {},
      h("div", { class: "error" }, row.error ?? ""),
      row.attempts > 0 && h("div", { class: "dim" }, `tried ${times(row.attempts)}`),
    ),
    h(
      "td",
      { class: "wide" },
      h("details", {}, h("summary", {}, plural(row.message_count, "message")), json(row.messages)),
    ),
    h(
      "td",
      { class: "num" },
      h(
        "div",
        { class: "row end" },
        h("button", { class: "small", onclick: act(() => post(`${path}/replay`)) }, "Replay"),
        h("button", { class: "small danger", onclick: act(() => send("DELETE", path)) }, "Delete"),
      ),
    ),
  );
}

function dispatchRow(row) {
  return h(
    "tr",
    {},
    h("td", {}, liveTime(row.created_at, "ago")),
    h("td", {}, pill(row.execution_status ?? (row.status === "dead" ? "failed" : row.status))),
    h("td", { class: "num wide" }, String(row.message_count)),
    h("td", {}, row.execution_id ? executionLink(row.execution_id) : ""),
  );
}
