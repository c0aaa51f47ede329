import { expect, test } from "bun:test";
import * as dagre from "@dagrejs/dagre";
import { loadPage } from "./page.ts";

interface Box {
  readonly step: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

interface Layout {
  readonly nodes: readonly Box[];
  readonly edges: readonly { readonly from: string; readonly to: string; readonly path: string }[];
  readonly scale: number;
  readonly fit: number;
  readonly direction: string;
}

interface Graph {
  readonly path: string;
  readonly steps: readonly object[];
  readonly arcs: readonly object[];
}

interface LayoutModule {
  readonly layoutGraph: (
    graph: Graph,
    view: { readonly width: number; readonly height: number },
    library: unknown,
  ) => Layout;
  readonly clipName: (name: string, width: number) => string;
  readonly toolText: (step: object) => string;
}

const { layoutGraph, clipName, toolText } = await loadPage<LayoutModule>("graph-layout.js");
const WIDE = { width: 1200, height: 400 };

function graph(arcs: readonly (readonly [from: string, to: string])[]): Graph {
  const names = [...new Set(arcs.flat())].filter((name) => name !== "gone");
  return {
    path: "tests/graph",
    steps: names.map((step) => ({ step, tools: ["python"], loop: null })),
    arcs: arcs.map(([from, to], index) => ({ from, to, index, when: null })),
  };
}

function overlaps(left: Box, right: Box): boolean {
  return (
    left.x < right.x + right.width &&
    right.x < left.x + left.width &&
    left.y < right.y + right.height &&
    right.y < left.y + left.height
  );
}

test("30 steps with fan-outs and a cycle lie side by side, and can be read", () => {
  const chain = Array.from({ length: 19 }, (_, n) => [`step_${n}`, `step_${n + 1}`] as const);
  const fan = Array.from({ length: 10 }, (_, n) => [`step_4`, `branch_${n}`] as const);
  const join = Array.from({ length: 10 }, (_, n) => [`branch_${n}`, `step_8`] as const);
  const { nodes, edges, scale, fit } = layoutGraph(
    graph([...chain, ...fan, ...join, ["step_15", "step_12"]]),
    WIDE,
    dagre,
  );
  expect(nodes).toHaveLength(30);
  const pairs = nodes.flatMap((left, index) =>
    nodes.slice(index + 1).filter((right) => overlaps(left, right)),
  );
  expect(pairs).toEqual([]);
  expect(edges).toHaveLength(40);
  expect(edges.every(({ path }) => /^M[\d.]+,[\d.]+ /.test(path))).toBe(true);
  expect(scale).toBeGreaterThan(0.7);
  expect(fit).toBeLessThan(scale);
});

test("a step that leads to itself has an arc below it; arcs to nowhere are left out", () => {
  const { nodes, edges } = layoutGraph(
    graph([
      ["a", "a"],
      ["a", "b"],
      ["b", "gone"],
    ]),
    WIDE,
    dagre,
  );
  expect(nodes.map(({ step }) => step)).toEqual(["a", "b"]);
  expect(edges.map(({ from, to }) => `${from}-${to}`)).toEqual(["a-a", "a-b"]);
  expect(edges[0]?.path).toContain("C");
});

test("a chain runs across a wide view and down a narrow one", () => {
  const arcs = Array.from({ length: 7 }, (_, n) => [`step_${n}`, `step_${n + 1}`] as const);
  expect(layoutGraph(graph(arcs), WIDE, dagre).direction).toBe("LR");
  expect(layoutGraph(graph(arcs), { width: 420, height: 400 }, dagre).direction).toBe("TB");
});

test("names are cut to their box; loops and pipelines say what they are", () => {
  expect(clipName("short", 120)).toBe("short");
  expect(clipName("a_name_that_is_far_too_long", 120)).toBe("a_name_tha…");
  expect(toolText({ tools: ["http"], loop: { cursor: null } })).toBe("http × loop");
  expect(toolText({ tools: ["http"], loop: { cursor: "nats" } })).toBe("http × cursor");
  expect(toolText({ tools: ["a", "b", "c", "d"], loop: null })).toBe("a → b → 2 more");
});
