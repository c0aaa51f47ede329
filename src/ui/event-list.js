/** The log of events, of which only those in sight are read. */
import { get } from "./client.js";
import { h } from "./view.js";
import { createWindowList } from "./window-list.js";

const ROW_HEIGHT = 26;
const PAGE = 100;
const PAGES_MAX = 30;

/** `{element, setCount(n)}`: positions go from 1 to n without gaps. `onSelect` gets an event. */
export function createEventList(id, signal, { onSelect, onError }) {
  const pages = new Map();
  const loading = new Set();
  let count = 0;
  const load = (page) => {
    const expected = Math.min(PAGE, count - page * PAGE);
    if (loading.has(page) || pages.get(page)?.length >= expected) {
      return;
    }
    loading.add(page);
    get(`/api/executions/${id}/events?after_seq=${page * PAGE}&limit=${PAGE}`, signal)
      .then(({ events }) => {
        // Those that the API derives from another one have a fraction in their id.
        const own = events.filter((event) => event.event_id === String(event.seq));
        pages.delete(page);
        pages.set(page, own);
        dropOldest(pages);
        list.refresh();
      })
      .catch((error) => signal.aborted || onError(error))
      .finally(() => loading.delete(page));
  };
  const list = createWindowList({
    rowHeight: ROW_HEIGHT,
    label: "Events",
    render: (index) => {
      const event = pages.get(Math.floor(index / PAGE))?.[index % PAGE];
      return event && rowElement(event, onSelect);
    },
    onRange: (begin, end) => {
      for (let page = Math.floor(begin / PAGE); page * PAGE < end; page++) {
        load(page);
      }
    },
  });
  list.element.classList.add("events");
  return {
    element: list.element,
    setCount: (next) => {
      count = next;
      list.setCount(next);
    },
  };
}

function dropOldest(pages) {
  for (const oldest of pages.keys()) {
    if (pages.size <= PAGES_MAX) {
      return;
    }
    pages.delete(oldest);
  }
}

function rowElement(event, onSelect) {
  const index = event.meta.iteration_index;
  const place = `${event.node_name}${index === undefined ? "" : `[${index}]`}`;
  const time = new Date(event.created_at).toISOString().slice(11, 23);
  return h(
    "button",
    { class: "event", onclick: () => onSelect(event) },
    h("span", { class: "dim num" }, String(event.seq)),
    h("span", { class: "dim mono wide" }, time),
    h("span", { class: event.error ? "error" : "" }, event.event_type),
    h("span", {}, place),
    h("span", { class: "dim clip" }, event.error ?? briefOf(event)),
  );
}

/** Small facts of an event in one line. */
export function briefOf({ context, status }) {
  const parts = Object.entries(context ?? {})
    .filter(([, value]) => value === true || ["string", "number"].includes(typeof value))
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  return parts.length === 0 ? status.toLowerCase() : parts.join(", ");
}
