/** Rows from an HTTP service: the elements of a JSON list, or lines of JSON, read as they come. */

import { errorMessage } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import type { TextRow } from "../copy-text.ts";
import { readAnswer, statusFailure, withoutQuery } from "../http/answer.ts";
import { buildRequest, urlOf } from "../http/request.ts";
import { encodeJson } from "../postgres/values.ts";
import { stoppedFailure } from "../stopped.ts";
import { TaskError, taskError, thrownFailure, unlessStopped } from "../task-error.ts";
import type { ColumnForm, Mapping, SourceKind, SourceOptions, TransferSource } from "./endpoint.ts";
import { textAt } from "./endpoint.ts";
import { JsonItems } from "./json-items.ts";
import { sideError } from "./side.ts";

/** Of an answer that says what went wrong. */
const ERROR_BYTES_MAX = 1024 * 1024;
/** Rows whose names make the columns where there is no mapping. */
const SAMPLE_COUNT = 1000;
/** Rows that are this large are not read many at once. */
const FILL_BYTES_MAX = 8 * 1024 * 1024;
const LINE_TYPES = /\b(x-ndjson|ndjson|jsonl|x-jsonlines|jsonlines)\b/;

export const httpSource: SourceKind = {
  check: (config) => {
    const url = urlOf(config);
    const hasUrl = typeof url === "string" && url.trim() !== "";
    return [
      ...(hasUrl ? [] : ["`source.url` is missing"]),
      ...(config["paginate"] ? ["`source.paginate` is not supported: read pages with http"] : []),
    ];
  },
  open: async (options) => {
    const rows = await RowReader.open(options);
    try {
      await rows.fill(SAMPLE_COUNT);
      const sample = rows.waiting.slice(0, SAMPLE_COUNT);
      return new HttpSource(rows, planColumns(sample, options), options);
    } catch (error) {
      await rows.close();
      throw error;
    }
  },
};

class HttpSource implements TransferSource {
  readonly columns: readonly string[];
  readonly #mapping: Mapping;
  readonly #rows: RowReader;
  readonly #options: SourceOptions;
  readonly #names: ReadonlySet<string>;

  constructor(rows: RowReader, mapping: Mapping, options: SourceOptions) {
    this.columns = mapping.map(([column]) => column);
    this.#mapping = mapping;
    this.#rows = rows;
    this.#options = options;
    this.#names = new Set(this.columns);
  }

  async read(forms: readonly ColumnForm[]): Promise<readonly TextRow[]> {
    const items = await this.#rows.take(this.#options.rowCountMax);
    return items.map((item) => {
      this.#refuseNewNames(item);
      return this.#mapping.map(([, path], index) => textOf(valueAt(item, path), forms[index]));
    });
  }

  async close(): Promise<void> {
    await this.#rows.close();
  }

  /** Without a mapping every name of a row is a column: none may be lost. */
  #refuseNewNames(item: JsonObject): void {
    const name =
      this.#options.mapping === undefined &&
      Object.keys(item).find((each) => !this.#names.has(each));
    if (typeof name === "string") {
      const message =
        `source: a row has "${name}", which the first ${SAMPLE_COUNT} rows did not have. ` +
        "Say with `mapping` which columns to fill";
      throw taskError("schema", "COLUMN_UNEXPECTED", message);
    }
  }
}

/** All names of the sample, or the mapping; one that finds nothing is pointed out. */
function planColumns(sample: readonly JsonObject[], options: SourceOptions): Mapping {
  const { mapping, context } = options;
  if (mapping === undefined) {
    const names = new Set(sample.flatMap((item) => Object.keys(item)));
    return [...names].map((name) => [name, name]);
  }
  const [first] = sample;
  for (const [column, path] of first === undefined ? [] : mapping) {
    if (sample.every((item) => valueAt(item, path) === undefined)) {
      const has = Object.keys(first ?? {}).join(", ");
      context.log("stderr", `no row has "${path}" for column "${column}"; the first has: ${has}`);
    }
  }
  return mapping;
}

/** By its name, else by a dotted path. */
function valueAt(item: JsonObject, path: string): Json | undefined {
  if (Object.hasOwn(item, path)) {
    return item[path];
  }
  let value: Json | undefined = item;
  for (const name of path.split(".")) {
    if (Array.isArray(value)) {
      value = (value as readonly Json[])[Number(name)];
    } else {
      value = isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
    }
  }
  return value;
}

function textOf(value: Json | undefined, form: ColumnForm | undefined): string | null {
  if (value === undefined || value === null) {
    return null;
  }
  if (typeof value === "object") {
    return JSON.stringify(value);
  }
  return form === "json" ? encodeJson(value) : String(value);
}

/** The rows of an answer, no more of them in memory than are asked for and came with them. */
class RowReader {
  readonly #body: AsyncIterator<Uint8Array>;
  readonly #signal: AbortSignal;
  readonly #parser: Parser;
  readonly #waiting: JsonObject[] = [];
  #count = 0;
  #isAtEnd = false;

  private constructor(body: AsyncIterator<Uint8Array>, parser: Parser, signal: AbortSignal) {
    this.#body = body;
    this.#parser = parser;
    this.#signal = signal;
  }

  static async open({ config, context }: SourceOptions): Promise<RowReader> {
    const { signal } = context;
    const response = await send(config, context);
    if (response.status >= 400) {
      throw sideError("source", statusFailure(await readAnswer(response, config, ERROR_BYTES_MAX)));
    }
    const body = (response.body ?? new Blob([]).stream())[Symbol.asyncIterator]();
    const type = response.headers.get("content-type")?.toLowerCase() ?? "";
    const parser = LINE_TYPES.test(type) ? lineParser() : listParser(textAt(config, "data_path"));
    return new RowReader(body, parser, signal);
  }

  get waiting(): readonly JsonObject[] {
    return this.#waiting;
  }

  /** Reads until so many rows wait, or enough of them, or there are no more. */
  async fill(count: number): Promise<void> {
    let bytes = 0;
    const isEnough = (): boolean => this.#waiting.length > 0 && bytes > FILL_BYTES_MAX;
    while (this.#waiting.length < count && !this.#isAtEnd && !isEnough()) {
      const next = await this.#next();
      bytes += next.done === true ? 0 : next.value.length;
      this.#isAtEnd = next.done === true;
      this.#accept(next.done === true ? this.#parser.end() : this.#parser.push(next.value));
    }
  }

  async take(count: number): Promise<readonly JsonObject[]> {
    await this.fill(count);
    return this.#waiting.splice(0, count);
  }

  async close(): Promise<void> {
    // A body that is under way is given up without waiting for it.
    await Promise.race([this.#body.return?.(), Bun.sleep(0)]).catch(() => undefined);
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    try {
      return await unlessStopped(this.#body.next(), this.#signal);
    } catch (error) {
      throwOwn(error, this.#signal);
      throw taskError(
        "connection",
        "CONNECTION",
        `source: the answer broke off: ${errorMessage(error)}`,
      );
    }
  }

  #accept(items: readonly Json[]): void {
    for (const item of items) {
      this.#count++;
      if (!isJsonObject(item)) {
        const is = Array.isArray(item) ? "a list" : JSON.stringify(item)?.slice(0, 40);
        const message = `source: element ${this.#count} is ${is}; rows must be maps`;
        throw taskError("schema", "ROW_INVALID", message);
      }
      this.#waiting.push(item);
    }
  }
}

async function send(config: JsonObject, context: SourceOptions["context"]): Promise<Response> {
  let address = String(urlOf(config));
  try {
    const { url, ...request } = await buildRequest(config, context);
    address = url;
    return await fetch(url, {
      ...request,
      signal: context.signal,
      ...(config["verify_ssl"] === false ? { tls: { rejectUnauthorized: false } } : {}),
    });
  } catch (error) {
    throwOwn(error, context.signal);
    if (!URL.canParse(address)) {
      throw taskError("schema", "URL_INVALID", `source: "${address}" is not a URL`);
    }
    const message = `source: cannot reach ${withoutQuery(address)}: ${errorMessage(error)}`;
    throw taskError("connection", "CONNECTION", message);
  }
}

/** Throws on a failure that has its words already, and on a stop; else returns. */
function throwOwn(error: unknown, signal: AbortSignal): void {
  if (signal.aborted) {
    throw new TaskError(stoppedFailure(signal));
  }
  if (thrownFailure(error) !== undefined) {
    throw error;
  }
}

interface Parser {
  push(bytes: Uint8Array): readonly Json[];
  end(): readonly Json[];
}

function listParser(path: string | undefined): Parser {
  const items = new JsonItems(path === undefined ? [] : path.split("."));
  const decoder = new TextDecoder();
  return {
    push: (bytes) => items.push(decoder.decode(bytes, { stream: true })),
    end: () => {
      items.end();
      return [];
    },
  };
}

function lineParser(): Parser {
  const decoder = new TextDecoder();
  let rest = "";
  const parse = (lines: readonly string[]): readonly Json[] =>
    lines.filter((line) => line.trim() !== "").map(parseLine);
  return {
    push: (bytes) => {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      return parse(lines);
    },
    end: () => parse([rest + decoder.decode()]),
  };
}

function parseLine(line: string): Json {
  try {
    return parseJson(line);
  } catch (error) {
    const message = `source: a line of the answer is not JSON: ${errorMessage(error)}`;
    throw taskError("parse", "JSON_INVALID", message);
  }
}
