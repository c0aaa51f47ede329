/** Pages of a list: newer and older. */
import { h } from "./view.js";

/** `onMove(offset)`; `draw(count)` with the number of rows on the page that is shown. */
export function createPager(size, onMove) {
  let offset = 0;
  const move = (by) => {
    offset = Math.max(0, offset + by);
    onMove(offset);
  };
  const newer = h("button", { onclick: () => move(-size) }, "Newer");
  const older = h("button", { onclick: () => move(size) }, "Older");
  const element = h("div", { class: "row pager" }, h("span", { class: "grow" }), newer, older);
  return {
    element,
    offset: () => offset,
    reset: () => {
      offset = 0;
    },
    draw: (count) => {
      element.hidden = offset === 0 && count < size;
      newer.disabled = offset === 0;
      older.disabled = count < size;
    },
  };
}
