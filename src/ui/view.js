/** Building blocks of the page: elements, and the pieces that several views share. */
import { formatAge, formatSpan, formatTime } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element. Texts are set as text, never as markup. */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for pictures. */
export function s(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) {
      continue;
    }
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...present(children));
  return element;
}

/** Without what stands for nothing, so that views can say `condition && element`. */
export function present(children) {
  return children
    .flat(3)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "");
}

export function pill(status, title) {
  const name = String(status).toLowerCase();
  return h("span", { class: `pill ${name}`, title }, name);
}

/** Texts longer than this are shown when asked for. */
const JSON_CHARS = 20_000;

export function json(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  if (text.length <= JSON_CHARS) {
    return h("pre", { tabindex: "0" }, text);
  }
  const pre = h("pre", { tabindex: "0" }, `${text.slice(0, JSON_CHARS)}\n…`);
  const more = h(
    "button",
    {
      class: "small",
      onclick: () => {
        pre.textContent = text;
        more.remove();
      },
    },
    `Show all ${text.length.toLocaleString("en")} characters`,
  );
  return h("div", {}, pre, more);
}

/** Columns are `[name, classes]`; those of class `wide` are left out on narrow screens. */
export function table(columns, rows) {
  return h(
    "div",
    { class: "card table" },
    h("table", {}, h("thead", {}, headRow(columns)), h("tbody", {}, rows)),
  );
}

function headRow(columns) {
  return h(
    "tr",
    {},
    columns.map(([name, kind]) => h("th", { class: kind, scope: "col" }, name)),
  );
}

/**
 * A table whose rows stay where nothing has changed, so that focus and selection survive a refresh.
 * `update(items)` takes the newest list; `key` tells items apart.
 */
export function liveTable(columns, { key, render }) {
  const body = h("tbody");
  const element = h(
    "div",
    { class: "card table" },
    h("table", {}, h("thead", {}, headRow(columns)), body),
  );
  let known = new Map();
  return {
    element,
    update: (items) => {
      const next = new Map();
      for (const item of items) {
        const text = JSON.stringify(item);
        const old = known.get(key(item));
        next.set(key(item), old?.text === text ? old : { text, row: render(item) });
      }
      known = next;
      const rows = [...next.values()].map(({ row }) => row);
      if (rows.length !== body.children.length || rows.some((row, i) => row !== body.children[i])) {
        body.replaceChildren(...rows);
      }
    },
  };
}

export function meter(part, whole) {
  const bar = h("i");
  bar.style.width = `${whole > 0 ? (100 * part) / whole : 0}%`;
  return h("div", { class: "meter", title: `${part} of ${whole}` }, bar);
}

/** A bar with its name and value, which `set(part, whole, text)` changes; null: not known. */
export function labelledMeter(name) {
  const bar = h("i");
  const value = h("span");
  const track = h("div", { class: "meter", role: "meter", "aria-label": name }, bar);
  const set = (part, whole, text) => {
    const share = part !== null && whole > 0 ? Math.min(100, (100 * part) / whole) : 0;
    bar.style.width = `${share}%`;
    track.setAttribute("aria-valuenow", String(Math.round(share)));
    track.setAttribute("aria-valuetext", text);
    value.textContent = text;
  };
  const names = h("div", { class: "row small" }, h("span", { class: "dim grow" }, name), value);
  return { element: h("div", { class: "measure" }, names, track), set };
}

/** What to do when there is nothing to show; what stands between backticks is set as code. */
export function empty(text) {
  return h("div", { class: "card empty" }, withCode(text));
}

export function withCode(text) {
  return text.split("`").map((part, index) => (index % 2 === 1 ? h("code", {}, part) : part));
}

export const fact = (name, value) =>
  value !== null && value !== undefined && value !== false && value !== ""
    ? h("span", {}, `${name} `, h("b", {}, value))
    : null;

export const executionLink = (id) => h("a", { class: "mono", href: `#/e/${id}` }, id);
export const playbookLink = (path) => h("a", { href: `#/p/${encodeURIComponent(path)}` }, path);

/** A time that is kept up to date: see {@link tickTimes}. `as`: ago, left or took. */
export function liveTime(iso, as) {
  const element = h("time", {
    datetime: iso,
    title: formatTime(iso),
    "data-at": String(Date.parse(iso)),
    "data-as": as,
  });
  setTime(element, Date.now());
  return element;
}

export function tickTimes(root, nowMs) {
  for (const element of root.querySelectorAll("time[data-as]")) {
    setTime(element, nowMs);
  }
}

function setTime(element, nowMs) {
  const atMs = Number(element.dataset.at);
  const text = TIMES[element.dataset.as](atMs, nowMs);
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

const TIMES = {
  ago: (atMs, nowMs) => formatAge(nowMs - atMs),
  left: (atMs, nowMs) => (atMs > nowMs ? `in ${formatSpan(atMs - nowMs)}` : "now"),
  took: (atMs, nowMs) => formatSpan(nowMs - atMs),
};

/** An answer that says no, as it is. */
export function errorCard(error) {
  return h(
    "div",
    { class: "card error", role: "alert" },
    h("div", { class: "message" }, error.message),
    error.code &&
      h("div", { class: "dim" }, `${error.code}${error.status ? ` · HTTP ${error.status}` : ""}`),
  );
}

export const show = (main, error) => main.replaceChildren(errorCard(error));
