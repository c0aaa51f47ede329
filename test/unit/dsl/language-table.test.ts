/** The table of the language cannot drift: from the parser, from the tests, from its text. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { FUNCTIONS, MACHINE_FILTERS, TESTS } from "../../../src/template/expression.ts";
import { FILTERS, METHOD_FILTERS } from "../../../src/template/filter.ts";
import { STATEMENTS } from "../../../src/template/statement.ts";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";
import type { KnownKeys } from "./language/read.ts";
import { watchKeys } from "./language/read.ts";
import { titleOf } from "./language/row.ts";
import { namedTests, withLanguage } from "./language/table.ts";
import { TEMPLATE_ROWS } from "./language/template-rows.ts";
import { LANGUAGE } from "./language.ts";

const TESTS_DIR = join(import.meta.dir, "../..");
const README = join(import.meta.dir, "../../../src/dsl/README.md");

test("src/dsl/README.md is current: else run `bun run docs`", async () => {
  const text = await Bun.file(README).text();
  expect(withLanguage(text)).toBe(text);
});

describe("every row names a test that exists", () => {
  const files = Map.groupBy(namedTests(), (name) => name.split(" › ")[0] ?? "");
  test.each([...files])("%s", async (path, names) => {
    const text = await Bun.file(join(TESTS_DIR, path)).text();
    const own = new Set(LANGUAGE.map(titleOf));
    const titles = names.map((name) => name.split(" › ").slice(1).join(" › "));
    const missing = titles.filter((title) => !own.has(title) && !hasTitle(text, title));
    expect(missing).toEqual([]);
  });
});

/** True if the text has the title as a literal of its own. */
function hasTitle(text: string, title: string): boolean {
  return ['"', "'", "`"].some((quote) => {
    const escaped = quote === "`" ? title.replaceAll("`", "\\`") : title;
    return text.includes(`${quote}${escaped}${quote}`);
  });
}

const PATHS: readonly (readonly [RegExp, string])[] = [
  [/^workflow\[\d+\]/, "step"],
  [/^workbook\[\d+\]/, "workbook"],
  [/^keychain\[\d+\]/, "keychain"],
  [/^step\.tool(\[\d+\](\.first)?)?/, "tool"],
  [/^(step|tool)\.output/, "output"],
  [/^step\.(loop|next)/, "$1"],
  [/^next\[\d+\](\.(then|else))?/, "next list"],
  [/^next\.arcs\[\d+\]/, "arc"],
  [/^tool\.spec\.rate_limit/, "tool.rate_limit"],
  [/^tool\.spec\.policy/, "policy"],
  [/^policy\.rules\[\d+\](\.else)?\.then/, "rule.then"],
  [/^policy\.rules\[\d+\]/, "policy.rules"],
  [/(rules|directives)\[\d+\]/, "$1"],
];

/** The block whose keys these are; undefined for forms that other rows show. */
function blockOf({ path, kind, keys }: KnownKeys): string | undefined {
  const name = PATHS.reduce((text, [pattern, by]) => text.replace(pattern, by), path);
  switch (name) {
    case "":
      return keys.includes("workflow") ? "document" : undefined;
    case "spec":
      return keys.includes("cron") ? "schedule" : "subscription";
    case "tool":
      return kind && `tool ${kind === "result_fetch" ? "artifact" : kind}`;
    case "policy.rules.else":
      return keys.includes("do") ? "rule.then" : undefined;
    case "next list":
      return keys.includes("then") ? "next list" : undefined;
    case "spec.nats":
    case "spec.source_config":
      return "subscription nats";
    default:
      return name.replace(/^spec\./, "subscription.");
  }
}

/** Blocks whose keys the parser does not list: any key passes, or who reads them says what is wrong. */
const OPEN = new Set(["metadata", "keychain", "kind", "tool", "tool.spec"]);

describe("the table has what the parser knows, and nothing else", () => {
  const known = Map.groupBy(watchKeys(LANGUAGE), blockOf);
  const common = new Set(fieldsOf("tool"));
  test.each(blocks())("%s", (block) => {
    const keys = (known.get(block) ?? []).flatMap((each) => each.keys);
    const isTool = block.startsWith("tool ");
    const own = new Set(isTool ? keys.filter((key) => !isCommon(block, key)) : keys);
    const written = new Set(
      fieldsOf(block).filter((field) => !REFUSED_ONLY.has(`${block} ${field}`)),
    );
    expect([...written].sort()).toEqual([...own].sort());
  });

  /** A field of every task, unless the tool has one of that name too. */
  function isCommon(block: string, key: string): boolean {
    return common.has(key) && !fieldsOf(block).includes(key);
  }

  test("no block is left out", () => {
    const missing = [...known.keys()].filter(
      (block) => block !== undefined && !blocks().includes(block),
    );
    expect(missing.filter((block) => !SHOWN_ELSEWHERE.has(block ?? ""))).toEqual([]);
  });

  test("a task's own fields are those that every tool takes", () => {
    const [noop] = known.get("tool noop") ?? [];
    const own = KNOWN_TOOL_KINDS.get("noop")?.fields ?? {};
    const shared = (noop?.keys ?? []).filter((key) => !Object.hasOwn(own, key));
    expect([...common].sort()).toEqual([...new Set(shared)].sort());
  });

  test("every kind of tool", () => {
    const kinds = LANGUAGE.filter(({ block, fate }) => block === "kind" && fate === "yes");
    const named = new Set(kinds.map(({ sample }) => sample["kind"]));
    const ours = [...KNOWN_TOOL_KINDS.keys()].filter((kind) => kind !== "workbook");
    expect([...named].sort()).toEqual([...ours, "result_fetch"].sort());
    for (const kind of ours) {
      expect(fieldsOf(`tool ${kind}`).length).toBeGreaterThan(0);
    }
  });
});

/** Fields that are read only to be refused. */
const REFUSED_ONLY = new Set(["tool playbook catalog_id"]);
/** Maps of triggers' documents that share rows with playbooks. */
const SHOWN_ELSEWHERE = new Set(["metadata"]);

function blocks(): readonly string[] {
  return [...new Set(LANGUAGE.map(({ block }) => block))].filter((block) => !OPEN.has(block));
}

function fieldsOf(block: string): readonly string[] {
  return LANGUAGE.filter((row) => row.block === block).flatMap(({ fields }) => fields.split(" "));
}

describe("the tables of templates have all there is", () => {
  const named = (group: string): readonly string[] =>
    TEMPLATE_ROWS.filter((row) => row.group === group).map(({ name }) => name);

  test.each<[string, Iterable<string>]>([
    ["filter", [...FILTERS.keys(), ...MACHINE_FILTERS]],
    ["test", TESTS],
    ["function", [...FUNCTIONS, "now", "token"]],
    ["method", METHOD_FILTERS.keys()],
    ["statement", [...[...STATEMENTS.keys()].filter((name) => !/^(end|el)/.test(name)), "raw"]],
  ])("%s", (group, known) => {
    expect([...named(group)].sort()).toEqual([...known].sort());
  });
});
