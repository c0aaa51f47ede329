/**
 * Reads YAML 1.2 into JSON, with the position of every key and item.
 *
 * Bounds: text length, depth, and number of nodes after aliases are followed, so that a document
 * of a few lines cannot grow into gigabytes. Integers that a double cannot hold become decimal
 * strings. `<<` merges maps, as most YAML that people write expects.
 */
import type { Alias, Document, Node, Pair, ParsedNode, YAMLError, YAMLMap } from "yaml";
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Diagnostic } from "./diagnostic.ts";

const TEXT_LENGTH_MAX = 2 * 1024 * 1024;
const DEPTH_MAX = 64;
const NODE_COUNT_MAX = 200_000;
/** Of YAML errors: after a broken line every further one is noise. */
const YAML_ERRORS_MAX = 20;

export interface Source {
  /** Undefined when the text could not be read. */
  readonly value: Json | undefined;
  readonly diagnostics: readonly Diagnostic[];
  /** Line and column, from 1, of what is at the path or of the nearest that is around it. */
  readonly locate: (path: string) => { readonly line: number; readonly column: number };
}

/** Never throws. */
export function readYaml(text: string): Source {
  if (text.length > TEXT_LENGTH_MAX) {
    return refuse(
      "DOCUMENT_TOO_LARGE",
      `the document is larger than ${TEXT_LENGTH_MAX} characters`,
    );
  }
  if (!isStorable(text)) {
    return refuse("VALUE_NOT_TEXT", `the document ${NOT_STORABLE}`);
  }
  const lines = new LineCounter();
  try {
    const document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      intAsBigInt: true,
      // Its own check compares every key with every other.
      uniqueKeys: false,
      keepSourceTokens: false,
      logLevel: "silent",
    });
    return new SourceReader(document, lines).read();
  } catch (error) {
    const reason = error instanceof RangeError ? "it nests too deep" : String(error);
    return refuse("YAML_INVALID", `the document cannot be read: ${reason}`);
  }
}

function refuse(code: string, message: string): Source {
  const place = { path: "", line: 1, column: 1 };
  return {
    value: undefined,
    diagnostics: [{ severity: "error", code, message, ...place }],
    locate: () => place,
  };
}

/** Why reading stopped: too deep or too much. */
class LimitError extends Error {
  override readonly name = "LimitError";
}

class SourceReader {
  readonly #document: Document.Parsed<ParsedNode>;
  readonly #lines: LineCounter;
  readonly #offsets = new Map<string, number>();
  readonly #diagnostics: Diagnostic[] = [];
  #nodeCount = 0;
  #depth = 0;

  constructor(document: Document.Parsed<ParsedNode>, lines: LineCounter) {
    this.#document = document;
    this.#lines = lines;
  }

  read(): Source {
    for (const error of this.#document.errors.slice(0, YAML_ERRORS_MAX)) {
      this.#addYaml("error", error);
    }
    for (const warning of this.#document.warnings.slice(0, YAML_ERRORS_MAX)) {
      this.#addYaml("warning", warning);
    }
    return {
      value: this.#readRoot(),
      diagnostics: this.#diagnostics,
      locate: (path) => this.#locate(path),
    };
  }

  #readRoot(): Json | undefined {
    if (this.#diagnostics.some((diagnostic) => diagnostic.severity === "error")) {
      return undefined;
    }
    try {
      return this.#readNode(this.#document.contents, "");
    } catch (error) {
      if (error instanceof LimitError) {
        this.#add("error", "DOCUMENT_TOO_LARGE", error.message, 0, "");
        return undefined;
      }
      throw error;
    }
  }

  #readNode(node: Node | null | undefined, path: string): Json {
    if (++this.#nodeCount > NODE_COUNT_MAX) {
      throw new LimitError(`the document has more than ${NODE_COUNT_MAX} values`);
    }
    if (++this.#depth > DEPTH_MAX) {
      throw new LimitError(`the document nests deeper than ${DEPTH_MAX} levels`);
    }
    const value = this.#readContent(node, path);
    this.#depth--;
    return value;
  }

  #readContent(node: Node | null | undefined, path: string): Json {
    if (isMap(node)) {
      return this.#readMap(node, path);
    }
    if (isSeq(node)) {
      return node.items.map((item, index) => {
        const itemPath = `${path}[${index}]`;
        this.#mark(itemPath, item);
        return this.#readNode(item as Node | null, itemPath);
      });
    }
    if (isAlias(node)) {
      return this.#readAlias(node, path);
    }
    return isScalar(node) ? this.#readScalar(node.value, node, path) : null;
  }

  #readAlias(node: Alias, path: string): Json {
    const target = node.resolve(this.#document);
    if (target === undefined) {
      this.#add("error", "YAML_INVALID", `unknown alias "*${node.source}"`, start(node), path);
    }
    return this.#readNode(target, path);
  }

  #readScalar(value: unknown, node: Node, path: string): Json {
    switch (typeof value) {
      case "string":
        if (!isStorable(value)) {
          this.#add("error", "VALUE_NOT_TEXT", `a text ${NOT_STORABLE}`, start(node), path);
        }
        return value;
      case "boolean":
        return value;
      case "bigint":
        return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
      case "number":
        if (Number.isFinite(value)) {
          return value;
        }
        this.#add("error", "VALUE_NOT_JSON", `${value} is no JSON value`, start(node), path);
        return null;
      default:
        return null;
    }
  }

  #readMap(node: YAMLMap, path: string): JsonObject {
    const own = new Map<string, Json>();
    const merged: [string, Json][] = [];
    for (const pair of node.items) {
      const key = this.#readKey(pair, path);
      if (key === "<<") {
        merged.push(...this.#readMerge(pair.value as Node | null, path));
      } else {
        const keyPath = joinPath(path, key);
        this.#mark(keyPath, pair.key);
        if (own.has(key)) {
          const message = `"${key}" stands twice in one map`;
          this.#add("error", "KEY_DUPLICATE", message, start(pair.key), keyPath);
        }
        own.set(key, this.#readNode(pair.value as Node | null, keyPath));
      }
    }
    return Object.fromEntries([...merged, ...own]);
  }

  #readKey(pair: Pair, path: string): string {
    if (isScalar(pair.key)) {
      const key = String(pair.key.value ?? "");
      if (!isStorable(key)) {
        this.#add("error", "VALUE_NOT_TEXT", `a key ${NOT_STORABLE}`, start(pair.key), path);
      }
      return key;
    }
    this.#add("error", "KEY_NOT_TEXT", "a key must be a text", start(pair.key), path);
    return "";
  }

  /** Earlier maps win over later ones. */
  #readMerge(node: Node | null, path: string): readonly [string, Json][] {
    const value = this.#readNode(node, path);
    const maps = Array.isArray(value) ? (value as readonly Json[]) : [value];
    if (!maps.every(isJsonObject)) {
      this.#add("error", "MERGE_NOT_MAP", '"<<" merges maps only', start(node), path);
    }
    return maps.toReversed().flatMap((map) => (isJsonObject(map) ? Object.entries(map) : []));
  }

  #mark(path: string, node: unknown): void {
    if (!this.#offsets.has(path)) {
      this.#offsets.set(path, start(node));
    }
  }

  #locate(path: string): { readonly line: number; readonly column: number } {
    let around = path;
    while (around !== "" && !this.#offsets.has(around)) {
      around = parentPath(around);
    }
    return this.#position(this.#offsets.get(around) ?? 0);
  }

  #position(offset: number): { readonly line: number; readonly column: number } {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  #addYaml(severity: "error" | "warning", error: YAMLError): void {
    this.#add(severity, "YAML_INVALID", error.message, error.pos[0], "");
  }

  #add(
    severity: "error" | "warning",
    code: string,
    message: string,
    offset: number,
    path: string,
  ): void {
    this.#diagnostics.push({ severity, code, message, path, ...this.#position(offset) });
  }
}

const NOT_STORABLE =
  "holds U+0000 or half of a surrogate pair, which no database keeps: encode it, for example in base64";

/** PostgreSQL keeps neither NUL nor lone surrogates. */
function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}

const PLAIN_KEY = /^[A-Za-z_][\w-]*$/;

/** The path of `key` in the map at `path`. */
export function joinPath(path: string, key: string): string {
  if (!PLAIN_KEY.test(key)) {
    return `${path}[${JSON.stringify(key)}]`;
  }
  return path === "" ? key : `${path}.${key}`;
}

/** A path without its last part. Quoted keys may hold dots and brackets: then more is cut off. */
function parentPath(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("."), path.lastIndexOf("["), 0));
}

function start(node: unknown): number {
  const range = isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range : null;
  return range?.[0] ?? 0;
}
