/**
 * Moves rows from one place to another, in chunks, without holding them all.
 *
 * Each transfer is one transaction at its target: it has happened whole or not at all, whatever dies
 * meanwhile. A `replace` or `upsert` that is run again gives the same; an `append` whose worker was
 * lost after the commit and before its report appends twice (say `idempotent: false`).
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { TextRow } from "./copy-text.ts";
import { thrownFailure } from "./task-error.ts";
import type { Tool, ToolContext, ToolOutcome } from "./tool.ts";
import type {
  EndpointOptions,
  Mapping,
  Mode,
  SourceKind,
  TargetKind,
  TransferSource,
  TransferTarget,
} from "./transfer/endpoint.ts";
import { MODES, textAt } from "./transfer/endpoint.ts";

export interface TransferToolOptions {
  readonly sources: Readonly<Record<string, SourceKind>>;
  readonly targets: Readonly<Record<string, TargetKind>>;
}

const CHUNK_SIZE = 1000;
const CHUNK_SIZE_MAX = 10_000;
/** Rows between two lines of the log. */
const LOG_EVERY = 100_000;

export function createTransferTool(options: TransferToolOptions): Tool {
  return {
    kind: "transfer",
    summary: "moves rows from `source` to `target` {type, table, mapping}; gives rows_transferred",
    check: (config) => checkTransfer(options, config),
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

function checkTransfer(
  { sources, targets }: TransferToolOptions,
  config: JsonObject,
): readonly string[] {
  const { source, target, chunk_size: size } = config;
  const mode = modeOf(config);
  const from = kindOf(source);
  const to = kindOf(target);
  const count = Number(size ?? CHUNK_SIZE);
  return [
    ...endProblems("source", from, Object.keys(sources)),
    ...endProblems("target", to, Object.keys(targets)),
    ...(sources[from]?.check(mapOf(source)) ?? []),
    ...(targets[to]?.check(mapOf(target), mode ?? "append") ?? []),
    ...(mode === undefined ? [`\`mode\` must be one of ${MODES.join(", ")}`] : []),
    ...(Number.isInteger(count) && count > 0 ? [] : ["`chunk_size` must be a positive number"]),
    ...mappingProblems(config),
  ];
}

function endProblems(name: string, kind: string, known: readonly string[]): readonly string[] {
  const kinds = known.join(", ");
  if (kind === "") {
    return [`\`${name}.type\` is missing: one of ${kinds}`];
  }
  return known.includes(kind) ? [] : [`\`${name}.type\` is "${kind}": it must be one of ${kinds}`];
}

function mappingProblems(config: JsonObject): readonly string[] {
  const mapping = mapOf(config["target"])["mapping"] ?? config["mapping"] ?? {};
  const isFine =
    isJsonObject(mapping) && Object.values(mapping).every((name) => typeof name === "string");
  return isFine ? [] : ["`target.mapping` must map columns of the target to names of the source"];
}

function mapOf(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

const OTHER_NAMES: Readonly<Record<string, string>> = { postgresql: "postgres", pg: "postgres" };

function kindOf(end: Json | undefined): string {
  const config = mapOf(end);
  const name = textAt(config, "type") ?? textAt(config, "kind") ?? textAt(config, "tool") ?? "";
  return OTHER_NAMES[name.toLowerCase()] ?? name.toLowerCase();
}

function modeOf(config: JsonObject): Mode | undefined {
  const mode = config["mode"] ?? mapOf(config["target"])["mode"] ?? "append";
  return MODES.find((each) => each === mode);
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
  { sources, targets }: TransferToolOptions,
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
    rowCountMax: Math.min(chunkSize, CHUNK_SIZE_MAX),
  });
  await using stack = new AsyncDisposableStack();
  const source = await sources[from]?.open({ ...options("source"), mapping: mappingOf(config) });
  stack.defer(() => source?.close());
  const target = await targets[to]?.open({ ...options("target"), mode, keys: keysOf(config) });
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
