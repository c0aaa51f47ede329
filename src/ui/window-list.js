/**
 * A list of any length of which only the rows in sight are there. Rows have one height; `render(index)`
 * gives an element, or undefined while the row is not known yet: `refresh()` asks again.
 */
import { h } from "./view.js";

const SPARE_ROWS = 10;
/** Browsers do not draw elements that are much higher than this. */
const HEIGHT_MAX = 8_000_000;

export function createWindowList({ rowHeight, render, onRange = () => undefined, label }) {
  const space = h("div", { class: "window-space" });
  const element = h(
    "div",
    { class: "window", tabindex: "0", "aria-label": label, role: "list" },
    space,
  );
  let count = 0;
  let drawn = "";

  const draw = () => {
    const { begin, end } = rangeOf({
      top: element.scrollTop * stretch(count, rowHeight),
      height: element.clientHeight,
      rowHeight,
      count,
    });
    const range = `${begin}-${end}`;
    if (range === drawn) {
      return;
    }
    drawn = range;
    const top = Math.min(begin * rowHeight, begin * (HEIGHT_MAX / Math.max(1, count)));
    const rows = Array.from({ length: end - begin }, (_, index) => {
      const row = render(begin + index) ?? h("div", { class: "dim" }, "…");
      row.classList.add("window-row");
      row.setAttribute("role", "listitem");
      row.style.top = `${top + index * rowHeight}px`;
      row.style.height = `${rowHeight}px`;
      return row;
    });
    space.replaceChildren(...rows);
    onRange(begin, end);
  };
  element.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(draw).observe(element);
  return {
    element,
    setCount: (next) => {
      const isAtEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - rowHeight;
      count = next;
      // A short list takes no more room than it needs.
      element.style.maxHeight = `${count * rowHeight + 24}px`;
      space.style.height = `${Math.min(HEIGHT_MAX, count * rowHeight)}px`;
      drawn = "";
      draw();
      return isAtEnd;
    },
    refresh: () => {
      drawn = "";
      draw();
    },
    scrollToEnd: () => {
      element.scrollTop = element.scrollHeight;
    },
  };
}

/** Rows stand for more than their height where the list would be too high. */
function stretch(count, rowHeight) {
  return Math.max(1, (count * rowHeight) / HEIGHT_MAX);
}

/** The rows to draw, `begin` included, `end` not: those in sight and some above and below. Pure. */
export function rangeOf({ top, height, rowHeight, count }) {
  const first = Math.floor(top / rowHeight);
  const last = Math.ceil((top + height) / rowHeight);
  const begin = Math.max(0, Math.min(first - SPARE_ROWS, count));
  return { begin, end: Math.min(count, Math.max(begin, last + SPARE_ROWS)) };
}
