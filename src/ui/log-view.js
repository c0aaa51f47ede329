/** What the tasks of an execution write, live. */
import { follow } from "./client.js";
import { formatCount } from "./format.js";
import { h } from "./view.js";
import { createWindowList } from "./window-list.js";

/** Lines that are kept: the newest. */
const LINES_MAX = 5000;
const ROW_HEIGHT = 20;

export function createLog(id, signal, { step, onError }) {
  let lines = [];
  let dropped = 0;
  let isDue = false;
  const note = h("div", { class: "dim small" }, "Nothing written.");
  const list = createWindowList({
    rowHeight: ROW_HEIGHT,
    label: "Log",
    render: (index) => lineElement(lines[index]),
  });
  list.element.classList.add("log");
  list.element.hidden = true;
  const draw = () => {
    isDue = false;
    list.element.hidden = false;
    if (lines.length > LINES_MAX) {
      dropped += lines.length - LINES_MAX;
      lines = lines.slice(-LINES_MAX);
    }
    note.textContent = dropped > 0 ? `${formatCount(dropped)} earlier lines are not shown.` : "";
    if (list.setCount(lines.length)) {
      list.scrollToEnd();
    }
  };
  const query = step === undefined ? "" : `?step=${encodeURIComponent(step)}`;
  follow(`/api/executions/${id}/logs/stream${query}`, signal, {
    onMessage: (line) => {
      lines.push(line);
      if (!isDue) {
        isDue = true;
        requestAnimationFrame(draw);
      }
    },
  }).catch(onError);
  return h("div", {}, note, list.element);
}

function lineElement(line) {
  const index = line.index === null ? "" : `[${line.index}]`;
  return h(
    "div",
    { title: `${line.time}, attempt ${line.attempt}` },
    h("span", { class: "who" }, `${line.step}${index} `),
    h("span", { class: line.stream }, line.text),
  );
}
