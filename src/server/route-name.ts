/** Names of routes for metrics, and the methods that a path takes. Both are closed sets. */

export interface RouteNames {
  add(method: string, path: string): void;
  /** The pattern, such as `/api/executions/:id`; `other` for an unknown path. */
  nameOf(path: string): string;
  /** In order of registration; empty for an unknown path. */
  methodsOf(path: string): readonly string[];
}

interface Node {
  readonly children: Map<string, Node>;
  pattern?: string;
  readonly methods: Set<string>;
}

const PARAMETER = ":";
/** Any number of further segments, at least one. */
const REST = "*";

export function createRouteNames(): RouteNames {
  const root = createNode();
  const fixed = new Map<string, string>();
  return {
    add: (method, path) => {
      const node = segments(path).reduce(childOf, root);
      node.pattern = path;
      node.methods.add(method);
      if (!path.includes(PARAMETER)) {
        fixed.set(path, path);
      }
    },
    nameOf: (path) => fixed.get(path) ?? find(root, segments(path))?.pattern ?? "other",
    methodsOf: (path) => [...(find(root, segments(path))?.methods ?? [])],
  };
}

function createNode(): Node {
  return { children: new Map(), methods: new Set() };
}

function segments(path: string): readonly string[] {
  return path.split("/").filter((segment) => segment !== "");
}

function childOf(node: Node, segment: string): Node {
  const key = segment.startsWith(PARAMETER) ? PARAMETER : segment;
  let child = node.children.get(key);
  if (child === undefined) {
    child = createNode();
    node.children.set(key, child);
  }
  return child;
}

/** Fixed words before parameters, as the router does. */
function find(node: Node, path: readonly string[]): Node | undefined {
  const [first, ...rest] = path;
  if (first === undefined) {
    return node.pattern === undefined ? undefined : node;
  }
  const word = node.children.get(first);
  const found = word === undefined ? undefined : find(word, rest);
  const parameter = node.children.get(PARAMETER);
  return (
    found ??
    (parameter === undefined ? undefined : find(parameter, rest)) ??
    node.children.get(REST)
  );
}
