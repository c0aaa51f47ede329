/**
 * Moves rows from one place to another, in chunks, without holding them all.
 *
 * Each transfer is one transaction at its target: it has happened whole or not at all, whatever dies
 * meanwhile. A `replace` or `upsert` that is run again gives the same; an `append` whose worker was
 * lost after the commit and before its report appends twice (say `idempotent: false`).
 */
import type { Json, JsonObject } from "../core/json.ts";
import type { TextRow } from "./copy-text.ts";
import { thrownFailure } from "./task-error.ts";
import type { Tool, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";
import { kindOf, mapOf, modeOf } from "./transfer/check.ts";
import { TRANSFER } from "./transfer/description.ts";
import type {
  EndpointOptions,
  Mapping,
  TransferSource,
  TransferTarget,
} from "./transfer/endpoint.ts";
import { textAt } from "./transfer/endpoint.ts";
import { SOURCES, TARGETS } from "./transfer/ends.ts";

export const transferModule: ToolModule = {
  descriptions: [TRANSFER],
  create: (parts) => [createTransferTool(parts)],
};

export type TransferToolOptions = Pick<EndpointOptions, "databases">;

const CHUNK_SIZE = 1000;
const CHUNK_SIZE_MAX = 10_000;
/** Rows between two lines of the log. */
const LOG_EVERY = 100_000;

export function createTransferTool(options: TransferToolOptions): Tool {
  return {
    description: TRANSFER,
    run: async (call, context) => {
      try {
        return { ok: true, value: await transfer(options, call.config, context) };
      } catch (error) {
        const failure = thrownFailure(error);
        if (failure === undefined) {
          throw error;
        }
        return { ok: false, failure } satisfies ToolOutcome;
      }
    },
  };
}

function mappingOf(config: JsonObject): Mapping | undefined {
  const mapping = mapOf(config["target"])["mapping"] ?? config["mapping"];
  const pairs = Object.entries(mapOf(mapping)).map(
    ([column, name]) => [column, String(name)] as const,
  );
  return pairs.length === 0 ? undefined : pairs;
}

function keysOf(config: JsonObject): readonly string[] | undefined {
  const target = mapOf(config["target"]);
  const keys = target["keys"] ?? target["key"] ?? config["keys"] ?? config["key"];
  const list: readonly Json[] = Array.isArray(keys) ? keys : [keys ?? ""];
  const names = list.map(String).filter((name) => name !== "");
  return names.length === 0 ? undefined : names;
}

async function transfer(
  { databases }: TransferToolOptions,
  config: JsonObject,
  context: ToolContext,
): Promise<JsonObject> {
  const from = kindOf(config["source"]);
  const to = kindOf(config["target"]);
  const mode = modeOf(config) ?? "append";
  const chunkSize = Number(config["chunk_size"] ?? CHUNK_SIZE);
  const options = (end: "source" | "target"): EndpointOptions => ({
    config: mapOf(config[end]),
    context,
    databases,
    rowCountMax: Math.min(chunkSize, CHUNK_SIZE_MAX),
  });
  await using stack = new AsyncDisposableStack();
  const source = await SOURCES[from]?.open({ ...options("source"), mapping: mappingOf(config) });
  stack.defer(() => source?.close());
  const target = await TARGETS[to]?.open({ ...options("target"), mode, keys: keysOf(config) });
  stack.defer(() => target?.close());
  const rowCount = await moveAll(source, target, context);
  return {
    direction: `${from}_to_${to}`,
    source_type: from,
    target_type: to,
    mode,
    rows_transferred: rowCount,
    chunks_processed: Math.ceil(rowCount / chunkSize),
    target_table: textAt(mapOf(config["target"]), "table") ?? null,
    columns: source?.columns ?? [],
  };
}

/** The next rows are read while the last ones are written. */
async function moveAll(
  source: TransferSource | undefined,
  target: TransferTarget | undefined,
  context: ToolContext,
): Promise<number> {
  if (source === undefined || target === undefined) {
    return 0;
  }
  const forms = await target.begin(source.columns);
  let rowCount = 0;
  let reading = read(source, forms);
  for (let rows = await reading; rows.length > 0; rows = await reading) {
    reading = read(source, forms);
    await target.write(rows);
    logProgress(rowCount, rows.length, context);
    rowCount += rows.length;
  }
  await target.commit();
  context.log("stdout", `${rowCount} rows transferred`);
  return rowCount;
}

function read(
  source: TransferSource,
  forms: Parameters<TransferSource["read"]>[0],
): Promise<readonly TextRow[]> {
  const reading = source.read(forms);
  // Waited for after the write before it, which may fail first.
  reading.catch(() => undefined);
  return reading;
}

function logProgress(before: number, count: number, context: ToolContext): void {
  const lines = Math.floor((before + count) / LOG_EVERY);
  if (lines > Math.floor(before / LOG_EVERY)) {
    context.log("stdout", `${lines * LOG_EVERY} rows so far`);
  }
}
