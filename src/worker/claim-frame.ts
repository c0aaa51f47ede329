/**
 * Makes the items of a frame from what a cursor's claim gave: rows of a statement, or messages of a
 * stream with what acknowledges them. Nothing of them is lost to a limit: rows were claimed, so what
 * is too large for an item list goes by reference, in one piece for all items.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { ClaimedFrame, CommandOutcome, FrameShape } from "../engine/command.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";
import { isList } from "../engine/value.ts";
import { joinRef } from "../template/ref.ts";
import { isResultRef } from "../template/scope.ts";
import type { LimitContext } from "./result-limit.ts";
import { limitOutcome } from "./result-limit.ts";

/** Label of the task that claims. */
const CLAIM = "claim";
/** A frame up to this size is part of the log as it is, unless one of its items is too large. */
const FRAME_BYTES_MAX = 1024 * 1024;

/** A claim's outcome, with its frame in place of what the tool gave. Never rejects. */
export async function limitClaim(
  context: LimitContext,
  shape: FrameShape,
  outcome: CommandOutcome,
): Promise<CommandOutcome> {
  if (outcome.status === "error") {
    return await limitOutcome(context, { ...outcome, value: null });
  }
  if (outcome.status !== "ok") {
    return await limitOutcome(context, outcome);
  }
  const frame = readFrame(shape, outcome.value);
  if ("kind" in frame) {
    return { status: "error", error: frame, value: null, ctx: {} };
  }
  const { items, ...rest } = frame;
  const limited = await limitItems(context, items);
  return "status" in limited ? limited : { ...outcome, value: { ...rest, items: limited } };
}

/** The frame that a puller's pipeline has claimed, from its value. */
export function readFrame(shape: FrameShape, value: Json): ClaimedFrame | Failure {
  const rows = readRows(isJsonObject(value) ? value[CLAIM] : undefined);
  return "kind" in rows ? rows : toFrame(shape, rows);
}

interface Claimed {
  readonly rows: readonly Json[];
  /** By row; absent if the source wants none. */
  readonly acks?: readonly Json[];
}

function readRows(value: Json | undefined): Claimed | Failure {
  if (isList(value)) {
    return { rows: value };
  }
  if (isJsonObject(value) && isList(value["messages"])) {
    return readMessages(value["messages"]);
  }
  const rows = isJsonObject(value) ? statementRows(value) : undefined;
  if (rows === undefined) {
    return invalid("The claim gave no rows; it must be a statement that returns those it takes");
  }
  return { rows };
}

function readMessages(messages: readonly Json[]): Claimed {
  const taken = messages.map((message) => (isJsonObject(message) ? message : { data: message }));
  return {
    rows: taken.map(({ ack_id: _, ...message }) => message),
    acks: taken.map((message) => message["ack_id"] ?? null),
  };
}

/** Of the last statement that returns any, be there a COMMIT behind it. */
function statementRows(value: JsonObject): readonly Json[] | undefined {
  const each = Object.keys(value)
    .filter((key) => /^command_\d+$/.test(key))
    .map((key) => value[key])
    .filter(isJsonObject);
  const returning = [...each, value].findLast(({ columns }) => isFilled(columns));
  if (returning === undefined && changes([...each, value])) {
    return undefined;
  }
  const { rows } = returning ?? value;
  return isList(rows) ? rows : undefined;
}

/** An UPDATE without RETURNING: it has taken rows that nobody will ever see. */
function changes(statements: readonly JsonObject[]): boolean {
  return statements.some(({ affected_rows, row_count, rows }) => {
    const count = affected_rows ?? row_count;
    return typeof count === "number" && count > 0 && !isFilled(rows);
  });
}

function isFilled(list: Json | undefined): boolean {
  return isList(list) && list.length > 0;
}

function invalid(message: string): Failure {
  return failure("schema", message, { code: "CLAIM_INVALID", task: CLAIM });
}

function toFrame(shape: FrameShape, { rows, acks }: Claimed): ClaimedFrame {
  const rowCount = rows.length;
  if (shape.process === "row") {
    return { items: rows, rowCount, ...(acks === undefined ? {} : { acks }) };
  }
  const ends = cut(rows, shape.maxBytes);
  const parts = <T>(list: readonly T[]): T[][] =>
    ends.map((end, index) => list.slice(ends[index - 1] ?? 0, end));
  return {
    items: parts(rows),
    rowCount,
    ...(acks === undefined ? {} : { acks: parts(acks) }),
  };
}

/** Where lists of rows end whose JSON is no longer than the limit; each has at least one row. */
function cut(rows: readonly Json[], bytesMax: number): readonly number[] {
  const ends: number[] = [];
  let bytes = 0;
  for (const [index, row] of rows.entries()) {
    const size = sizeOf(row) + 1;
    if (bytes > 0 && bytes + size > bytesMax) {
      ends.push(index);
      bytes = 0;
    }
    bytes += size;
  }
  return rows.length === 0 ? [] : [...ends, rows.length];
}

function sizeOf(value: Json): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/** The items as they are, or references into one stored list; an outcome if that fails. */
async function limitItems(
  context: LimitContext,
  items: readonly Json[],
): Promise<readonly Json[] | CommandOutcome> {
  const sizes = items.map(sizeOf);
  const size = sizes.reduce((sum, each) => sum + each, 0);
  const { inlineBytes } = context.limits;
  if (size <= FRAME_BYTES_MAX && sizes.every((each) => each <= inlineBytes)) {
    return items;
  }
  const stored = await limitOutcome(
    { ...context, outputSelect: [], limits: { ...context.limits, inlineBytes: 0 } },
    { status: "ok", value: [...items], ctx: {} },
  );
  if (stored.status !== "ok" || !isResultRef(stored.value)) {
    return stored;
  }
  const { $ref } = stored.value;
  return items.map((item, index) => ({
    $ref: joinRef($ref, [index]),
    size: sizes[index] ?? 0,
    type: typeOf(item),
  }));
}

function typeOf(value: Json): string {
  if (value === null) {
    return "null";
  }
  return isList(value) ? "array" : typeof value;
}
