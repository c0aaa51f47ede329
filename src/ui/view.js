/** Building blocks of the page: elements, times, and the pieces that several views share. */

/** An element. Texts are set as text, never as markup. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) {
      continue;
    }
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (name === "class") {
      element.className = value;
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

export function formatDuration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) {
    return "";
  }
  if (seconds < 1) {
    return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  }
  if (seconds < 60) {
    return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} m ${Math.floor(seconds % 60)} s`;
  }
  return minutes < 1440
    ? `${Math.floor(minutes / 60)} h ${minutes % 60} m`
    : `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

export function formatTime(iso) {
  return iso
    ? new Date(iso).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" })
    : "";
}

export function formatAgo(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  return seconds < 2 ? "now" : `${formatDuration(Math.floor(seconds)).replace(/\.\d+/, "")} ago`;
}

export function pill(status) {
  return h("span", { class: `pill ${String(status).toLowerCase()}` }, String(status).toLowerCase());
}

export function json(value) {
  return h("pre", {}, typeof value === "string" ? value : JSON.stringify(value, null, 2));
}

export function table(columns, rows) {
  return h(
    "div",
    { class: "card table" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map(([name, kind]) => h("th", { class: kind, scope: "col" }, name)),
        ),
      ),
      h("tbody", {}, rows),
    ),
  );
}

/** One bar per visit on a track from the execution's begin to its end or now. */
export function bars(visits, beginMs, endMs) {
  const whole = Math.max(1, endMs - beginMs);
  return visits.map((visit) => {
    const bar = h("span", {
      class: `bar ${visit.status}`,
      title: `visit ${visit.number}: ${visit.status}`,
    });
    // One at the very end is seen too.
    bar.style.left = `min(${(100 * (visit.beginMs - beginMs)) / whole}%, 100% - 3px)`;
    bar.style.width = `${(100 * ((visit.endMs ?? endMs) - visit.beginMs)) / whole}%`;
    return bar;
  });
}

export function meter(part, whole) {
  const fill = h("i");
  fill.style.width = `${whole > 0 ? (100 * part) / whole : 0}%`;
  return h("div", { class: "meter", title: `${part} of ${whole}` }, fill);
}

export const show = (main, error) =>
  main.replaceChildren(h("div", { class: "card error" }, error.message));
