/**
 * Where the steps and arcs of a playbook are drawn. Pure; dagre, which does the layout, is handed in
 * because it is another file on the page than in tests.
 */

const NODE_HEIGHT = 46;
/** Room for an arc from a step to itself. */
const CIRCLE_HEIGHT = 22;
const CHAR_WIDTH = 7.2;
const NODE_WIDTH = { min: 96, max: 250 };
/** Smaller than this nothing can be read: then the picture is scrolled. */
const SCALE_MIN = 0.72;
const MARGIN = 12;

/**
 * `{nodes, edges, width, height, scale, fit, direction}` of a graph as the API gives it: of both
 * directions the one of which the most is in sight. `fit` is the scale at which all of it is, `scale`
 * the one at which it can be read. Arcs to steps that are not there are left out.
 */
export function layoutGraph(graph, view, dagre) {
  const layouts = ["LR", "TB"].map((direction) => scaled(layoutTo(graph, direction, dagre), view));
  const [across, down] = layouts;
  return across.screens <= down.screens ? across : down;
}

/** With the number of screens that it takes. */
function scaled(layout, view) {
  const fit = Math.min(1, view.width / layout.width, view.height / layout.height);
  const scale = Math.max(fit, SCALE_MIN);
  const screens =
    Math.max(1, (layout.width * scale) / view.width) *
    Math.max(1, (layout.height * scale) / view.height);
  // Of two that are in sight as a whole, the one that is larger.
  return { ...layout, fit, scale, screens: screens / scale };
}

function layoutTo(graph, direction, dagre) {
  const drawing = new dagre.Graph({ multigraph: true });
  drawing.setGraph({
    rankdir: direction,
    nodesep: direction === "LR" ? 16 : 22,
    ranksep: direction === "LR" ? 46 : 30,
    edgesep: 12,
    marginx: MARGIN,
    marginy: MARGIN,
  });
  drawing.setDefaultEdgeLabel(() => ({}));
  const names = new Set(graph.steps.map(({ step }) => step));
  const arcs = graph.arcs.filter(({ from, to }) => names.has(from) && names.has(to));
  const circles = new Set(arcs.filter(isCircle).map(({ from }) => from));
  for (const step of graph.steps) {
    const height = NODE_HEIGHT + (circles.has(step.step) ? CIRCLE_HEIGHT : 0);
    drawing.setNode(step.step, { width: nodeWidth(step), height });
  }
  for (const arc of arcs.filter((each) => !isCircle(each))) {
    drawing.setEdge(arc.from, arc.to, {}, arcKey(arc));
  }
  dagre.layout(drawing);
  const { width, height } = drawing.graph();
  return {
    direction,
    width,
    height,
    nodes: graph.steps.map((step) => ({ ...step, ...boxOf(drawing.node(step.step)) })),
    edges: arcs.map((arc) => ({ ...arc, path: edgePath(drawing, arc) })),
  };
}

/** From a step to itself. */
const isCircle = ({ from, to }) => from === to;

function edgePath(drawing, arc) {
  return isCircle(arc)
    ? circlePath(boxOf(drawing.node(arc.from)))
    : pathOf(drawing.edge({ v: arc.from, w: arc.to, name: arcKey(arc) }).points);
}

/** Below the box, in the room that was kept for it. */
function circlePath({ x, y, width, height }) {
  const bottom = y + height;
  const low = bottom + CIRCLE_HEIGHT * 1.2;
  const at = (part) => (x + width * part).toFixed(1);
  return `M${at(0.7)},${bottom} C${at(0.8)},${low} ${at(0.2)},${low} ${at(0.3)},${bottom}`;
}

export const arcKey = ({ from, index }) => `${from}#${index}`;

function boxOf({ x, y, width, height }) {
  return { x: x - width / 2, y: y - height / 2, width, height: NODE_HEIGHT };
}

/** What stands below a step's name. */
export function toolText({ tools, loop }) {
  const names = tools.length > 3 ? [...tools.slice(0, 2), `${tools.length - 2} more`] : tools;
  const kind = loop === null ? "" : ` × ${loop.cursor ? "cursor" : "loop"}`;
  return `${names.join(" → ")}${kind}`;
}

function nodeWidth(step) {
  // Beside the name stands how many items are done, or how often it was visited.
  const count = step.loop === null ? 3 : 12;
  const chars = Math.max(step.step.length + count, toolText(step).length * 0.86 + 2);
  return Math.min(NODE_WIDTH.max, Math.max(NODE_WIDTH.min, chars * CHAR_WIDTH + 26));
}

/** As much of a name as a node of this width shows. */
export function clipName(name, width) {
  const room = Math.floor((width - 34) / CHAR_WIDTH);
  return name.length > room ? `${name.slice(0, room - 1)}…` : name;
}

/** A smooth line through the points, as the `d` of a path. */
export function pathOf(points) {
  const [first, ...rest] = points;
  const at = ({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`;
  let path = `M${at(first)}`;
  for (let index = 0; index < rest.length; index++) {
    const point = rest[index];
    const next = rest[index + 1];
    // Curves pass half way between the bends, which pull them.
    path +=
      next === undefined
        ? ` L${at(point)}`
        : ` Q${at(point)} ${at({ x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 })}`;
  }
  return path;
}
