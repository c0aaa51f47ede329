/** The picture of a playbook: its steps and arcs, coloured by what has become of them. */
import * as dagre from "./dagre.js";
import { formatCount } from "./format.js";
import { arcKey, clipName, layoutGraph, toolText } from "./graph-layout.js";
import { stepStatus } from "./progress.js";
import { h, s } from "./view.js";

const HEIGHT = 400;

/**
 * `{element, draw}`: `draw(progress, selected)` colours it. `onSelect` gets a step's name; without it
 * the picture is only looked at.
 */
export function createGraph(graph, { width, onSelect }) {
  const layout = layoutGraph(graph, { width, height: HEIGHT }, dagre);
  const nodes = new Map(
    layout.nodes.map((node) => [node.step, nodeElement(node, graph, onSelect)]),
  );
  const edges = new Map(layout.edges.map((edge) => [arcKey(edge), edgeElement(edge)]));
  const picture = s(
    "svg",
    {
      viewBox: `0 0 ${layout.width} ${layout.height}`,
      width: layout.width * layout.scale,
      height: layout.height * layout.scale,
      role: "group",
      "aria-label": `Steps of ${graph.path}`,
    },
    arrowHead("arrow", ""),
    arrowHead("arrow-taken", "taken"),
    [...edges.values()].map((each) => each.element),
    [...nodes.values()].map((each) => each.element),
  );
  let hasScrolled = false;
  const frame = h("div", { class: "graph", tabindex: "-1" }, picture);
  const element = h("div", {}, layout.fit < layout.scale && sizeButton(picture, layout), frame);
  return {
    element,
    draw: (progress, selected) => {
      for (const [name, node] of nodes) {
        drawNode(node, progress.steps.get(name), name === selected);
      }
      for (const { arc, line } of edges.values()) {
        drawEdge(line, progress.steps.get(arc.from)?.arcs.get(arc.index) ?? 0);
      }
      const busy = [...nodes].find(([name]) => isBusy(progress.steps.get(name)));
      if (busy && !hasScrolled) {
        hasScrolled = true;
        scrollTo(frame, busy[1].node, layout.scale);
      }
    },
  };
}

/** Of one that is too large to be read as a whole. */
function sizeButton(picture, { width, height, fit, scale }) {
  let isWhole = false;
  const button = h(
    "button",
    {
      class: "small over-graph",
      onclick: () => {
        isWhole = !isWhole;
        const used = isWhole ? fit : scale;
        picture.setAttribute("width", width * used);
        picture.setAttribute("height", height * used);
        button.textContent = isWhole ? "Readable" : "Whole picture";
      },
    },
    "Whole picture",
  );
  return button;
}

const isBusy = (step) => ["running", "waiting", "failed"].includes(stepStatus(step));

/** Without moving the page itself. */
function scrollTo(element, node, scale) {
  element.scrollLeft = (node.x + node.width / 2) * scale - element.clientWidth / 2;
  element.scrollTop = (node.y + node.height / 2) * scale - element.clientHeight / 2;
}

function arrowHead(id, kind) {
  return s(
    "marker",
    {
      id,
      class: `head ${kind}`,
      viewBox: "0 0 8 8",
      refX: 7,
      refY: 4,
      markerWidth: 7,
      markerHeight: 7,
      orient: "auto-start-reverse",
    },
    s("path", { d: "M0,0 L8,4 L0,8 z" }),
  );
}

function nodeElement(node, graph, onSelect) {
  const { step, x, y, width, height, description } = node;
  const count = s("text", { class: "count", x: width - 10, y: 18, "text-anchor": "end" });
  const bar = s("rect", { class: "done", x: 12, y: height - 5, width: 0, height: 3, rx: 1.5 });
  const isEntry = step === graph.entry_step;
  const element = s(
    "g",
    {
      class: "node idle",
      transform: `translate(${x},${y})`,
      tabindex: onSelect ? "0" : undefined,
      role: onSelect ? "button" : undefined,
      "aria-label": step,
      onclick: onSelect && (() => onSelect(step)),
      onkeydown:
        onSelect &&
        ((event) => {
          if (event.key === "Enter" || event.key === " ") {
            event.preventDefault();
            onSelect(step);
          }
        }),
    },
    s("title", {}, [step, description].filter(Boolean).join("\n")),
    s("rect", { class: "box", width, height, rx: isEntry ? 14 : 7 }),
    s("circle", { class: "state", cx: 14, cy: 14, r: 4.5 }),
    s("text", { class: "name", x: 26, y: 18 }, clipName(step, width)),
    s("text", { class: "tools", x: 26, y: 35 }, clipName(toolText(node), width + 18)),
    count,
    bar,
  );
  return { element, node, count, bar, text: "" };
}

function drawNode(target, step, isHere) {
  const status = stepStatus(step);
  const isLoop = step?.total > 0;
  const text = countText(step, isLoop);
  const part = isLoop ? Math.min(1, (step.done + step.failed) / step.total) : 0;
  const state = `node ${status}${isHere ? " here" : ""}`;
  const key = `${state} ${text} ${part}`;
  if (key === target.text) {
    return;
  }
  target.text = key;
  target.element.setAttribute("class", state);
  target.element.setAttribute("aria-label", `${target.node.step}: ${status} ${text}`);
  target.count.textContent = text;
  target.bar.setAttribute("width", String(part * (target.node.width - 24)));
}

function countText(step, isLoop) {
  if (isLoop) {
    return `${short(step.done + step.failed)}/${short(step.total)}`;
  }
  return step?.visitCount > 1 ? `×${formatCount(step.visitCount)}` : "";
}

function short(count) {
  return count < 10_000 ? String(count) : `${(count / 1000).toFixed(count < 100_000 ? 1 : 0)}k`;
}

function edgeElement(edge) {
  const line = s("path", {
    class: "arc",
    d: edge.path,
    "marker-end": "url(#arrow)",
  });
  const title = edge.when
    ? `${edge.from} → ${edge.to} when ${edge.when}`
    : `${edge.from} → ${edge.to}`;
  const element = s("g", { class: edge.when ? "guarded" : "" }, s("title", {}, title), line);
  return { element, line, arc: edge };
}

function drawEdge(line, count) {
  const name = count > 0 ? "arc taken" : "arc";
  if (line.getAttribute("class") !== name) {
    line.setAttribute("class", name);
    line.setAttribute("marker-end", count > 0 ? "url(#arrow-taken)" : "url(#arrow)");
  }
}
