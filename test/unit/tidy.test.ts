/**
 * Checks what the linter cannot: which folder may import which, which folder owns which
 * third-party package, and a few footguns. A rule lives here only if a person would otherwise
 * have to remember it in review.
 */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { Glob } from "bun";
import { METRICS_BY_ROLE } from "../../src/observability/metrics-table.ts";

/** Folder under src -> folders it may import. A folder may always import itself. */
const EDGES: Record<string, readonly string[]> = {
  core: [],
  config: ["core"],
  observability: ["core"],
  template: ["core"],
  dsl: ["core", "template"],
  engine: ["core", "dsl", "template"],
  secrets: ["core", "observability"],
  store: ["core", "dsl", "engine", "observability"],
  bus: ["core", "engine", "observability"],
  containers: ["core", "engine", "observability"],
  gpu: ["core", "engine", "observability"],
  rpc: ["core", "engine", "observability"],
  tools: ["containers", "core", "dsl", "engine", "observability", "secrets", "template"],
  embedded: ["core", "observability"],
  health: ["bus", "core", "observability", "rpc", "store"],
  orchestrator: ["bus", "core", "dsl", "engine", "observability", "secrets", "store", "template"],
  triggers: ["bus", "core", "dsl", "observability", "orchestrator", "store", "template"],
  ui: [],
  server: [
    "core",
    "dsl",
    "engine",
    "observability",
    "orchestrator",
    "rpc",
    "secrets",
    "store",
    "template",
    "triggers",
    "ui",
  ],
  worker: [
    "bus",
    "containers",
    "core",
    "dsl",
    "engine",
    "gpu",
    "observability",
    "rpc",
    "secrets",
    "template",
    "tools",
  ],
  testing: ["core", "dsl", "engine", "template", "tools", "worker"],
  cli: [
    "bus",
    "config",
    "containers",
    "core",
    "dsl",
    "embedded",
    "engine",
    "gpu",
    "health",
    "observability",
    "orchestrator",
    "rpc",
    "secrets",
    "server",
    "store",
    "template",
    "testing",
    "tools",
    "triggers",
    "ui",
    "worker",
  ],
};

/** Third-party package (prefix) -> the only folders that may import it. */
const SEAMS: Record<string, readonly string[]> = {
  croner: ["triggers"],
  "@dagrejs/": ["server"],
  "@duckdb/": ["tools"],
  "@grpc/": ["rpc"],
  "@kubernetes/": ["containers"],
  "@opentelemetry/": ["observability"],
  nats: ["bus", "tools"],
  elysia: ["server"],
  postgres: ["store", "tools"],
  "prom-client": ["observability"],
};

/** Text banned in `folders` ("*": every folder) but not in `except`, and what to do instead. */
const BANNED: readonly {
  readonly pattern: RegExp;
  readonly folders: readonly string[];
  readonly except?: readonly string[];
  readonly instead: string;
}[] = [
  { pattern: /\bFIXME\b/, folders: ["*"], instead: "fix it before merging" },
  {
    pattern: /^\s*(sql|tx)(<[^`]*>)?`/m,
    folders: ["*"],
    instead: "await the query: postgres.js runs none that nobody awaits",
  },
  { pattern: /\bselect\s+\*/i, folders: ["store"], instead: "name the columns" },
  {
    pattern: /\b(Bun|import\.meta)\.env\b/,
    folders: ["*"],
    except: ["config"],
    instead: "take it as an option",
  },
  {
    pattern: /\b(Date\.now\(|new Date\(\)|Math\.random\()/,
    folders: ["engine", "dsl", "template"],
    instead: "take it as an argument",
  },
];

const TOP_LEVEL = [
  "README.md",
  "bun.lock",
  "bunfig.toml",
  "deploy",
  "grafana",
  "package.json",
  "proto",
  "src",
  "test",
  "tsconfig.json",
];

const ENTRY = "src/main.ts";
const IMPORT = /(?:from|import)\s*\(?\s*"([^"]+)"/g;

interface Source {
  readonly path: string;
  readonly folder: string;
  readonly text: string;
  readonly imports: readonly string[];
}

async function readSources(): Promise<readonly Source[]> {
  const sources: Source[] = [];
  for (const path of [...new Glob("src/**/*.ts").scanSync(".")].sort()) {
    if (path.includes("/generated/") || path.endsWith(".d.ts")) {
      continue;
    }
    const text = await Bun.file(path).text();
    const imports = [...text.matchAll(IMPORT)].flatMap((match) => match[1] ?? []);
    sources.push({ path, folder: path.split("/")[1] ?? "", text, imports });
  }
  return sources;
}

/** What the repository's own scripts import from src. */
async function readScriptImports(): Promise<readonly (string | undefined)[]> {
  const imports: (string | undefined)[] = [];
  for (const path of new Glob(".ci/*.ts").scanSync({ cwd: ".", dot: true })) {
    const text = await Bun.file(path).text();
    imports.push(...[...text.matchAll(IMPORT)].map((match) => resolveImport(path, match[1] ?? "")));
  }
  return imports;
}

/** Path of a relative import from the repository root, or undefined for a package. */
function resolveImport(from: string, specifier: string): string | undefined {
  return specifier.startsWith(".")
    ? new URL(specifier, `file:///${from}`).pathname.slice(1)
    : undefined;
}

const sources = await readSources();
const modules = sources.filter((source) => source.path !== ENTRY);

describe("tidy", () => {
  test("the top level holds what every reader expects there, and nothing else", async () => {
    const ignored = (await Bun.file(".gitignore").text()).split("\n");
    const isKept = (name: string): boolean =>
      !(name.startsWith(".") || ignored.includes(name) || ignored.includes(`${name}/`));
    expect(readdirSync(".").filter(isKept).sort()).toEqual(TOP_LEVEL);
  });

  test("each folder imports only the folders below it", () => {
    const bad = modules.flatMap((source) =>
      source.imports.flatMap((specifier) => {
        const target = resolveImport(source.path, specifier)?.split("/")[1];
        const isAllowed =
          target === undefined ||
          target === source.folder ||
          EDGES[source.folder]?.includes(target);
        return isAllowed ? [] : [`${source.path} imports ${specifier}`];
      }),
    );
    expect(bad).toEqual([]);
  });

  test("each third-party package stays behind its seam", () => {
    const bad = modules.flatMap((source) =>
      Object.entries(SEAMS).flatMap(([name, folders]) =>
        !folders.includes(source.folder) &&
        source.imports.some((i) => i === name || (name.endsWith("/") && i.startsWith(name)))
          ? [`${source.path} imports ${name}`]
          : [],
      ),
    );
    expect(bad).toEqual([]);
  });

  test("no banned text", () => {
    const bad = sources.flatMap((source) =>
      BANNED.filter(
        ({ folders, except = [] }) =>
          (folders.includes("*") || folders.includes(source.folder)) &&
          !except.includes(source.folder),
      )
        .filter(({ pattern }) => pattern.test(source.text))
        .map(({ pattern, instead }) => `${source.path}: ${pattern.source}: ${instead}`),
    );
    expect(bad).toEqual([]);
  });

  test("every file is imported by another, or by a script", async () => {
    const used = new Set([
      ...sources.flatMap((s) => s.imports.map((i) => resolveImport(s.path, i))),
      ...(await readScriptImports()),
    ]);
    expect(modules.map((s) => s.path).filter((path) => !used.has(path))).toEqual([]);
  });

  test("every metric is fed", () => {
    const names = Object.values(METRICS_BY_ROLE).flatMap((table) => Object.keys(table));
    const rest = sources.map(({ text }) => text);
    const isFed = (name: string): boolean =>
      rest.some((text) =>
        new RegExp(
          `\\b${name}\\b\\s*\\.(inc|add|set|observe)\\(|setAll\\(metrics\\.${name}\\b`,
        ).test(text),
      );
    expect(names.length).toBeGreaterThan(100);
    expect(names.filter((name) => !isFed(name))).toEqual([]);
  });

  test("the folder graph has no cycle", () => {
    const visit = (folder: string, trail: readonly string[]): void => {
      expect(trail).not.toContain(folder);
      for (const next of EDGES[folder] ?? []) {
        visit(next, [...trail, folder]);
      }
    };
    for (const folder of Object.keys(EDGES)) {
      visit(folder, []);
    }
  });
});
