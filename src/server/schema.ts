/** Shapes that several routes share. Input is read leniently: unknown fields pass, ids may be numbers. */
import type { TUnsafe } from "@sinclair/typebox";
import { t } from "elysia";
import { AppError } from "../core/errors.ts";
import { isId } from "../core/ids.ts";
import { parseInstant } from "../core/instant.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";

/** An id as clients send it. */
export const Id = t.Union([t.String(), t.Number()], {
  description: "Decimal id; a text, because JSON numbers lose digits.",
});

export const ExecutionParams = t.Object({ id: t.String({ description: "Execution id." }) });

/** Anything that JSON holds; checked further on. */
export const Any = t.Unknown() as unknown as TUnsafe<Json>;

/** `limit` and `offset` of a list. */
export const PageQuery = { limit: t.Optional(t.Numeric()), offset: t.Optional(t.Numeric()) };

/** Reads an id that must be there. @throws AppError invalid ID_INVALID. */
export function readId<Id extends string>(value: unknown, name: string): Id {
  const text = typeof value === "number" ? String(value) : value;
  if (isId(text)) {
    return text as Id;
  }
  throw new AppError(
    "invalid",
    "ID_INVALID",
    `${name} must be a decimal id, not ${JSON.stringify(value)}`,
    {
      details: { field: name },
    },
  );
}

/** Undefined when absent, null or empty. */
export function readOptionalId<Id extends string>(value: unknown, name: string): Id | undefined {
  return value === undefined || value === null || value === ""
    ? undefined
    : readId<Id>(value, name);
}

/** Milliseconds; undefined when absent or empty. @throws AppError invalid TIME_INVALID. */
export function readOptionalTime(value: string | undefined, name: string): number | undefined {
  if (value === undefined || value === "") {
    return undefined;
  }
  const ms = parseInstant(value);
  if (ms === undefined) {
    const message = `${name} must be a time such as 2026-01-31T00:00:00Z, not ${value}`;
    throw new AppError("invalid", "TIME_INVALID", message);
  }
  return ms;
}

/** @throws AppError invalid REQUEST_INVALID if it is there but no object. */
export function readObject(value: unknown, name: string): JsonObject | undefined {
  if (value === undefined || value === null) {
    return undefined;
  }
  if (isJsonObject(value)) {
    return value;
  }
  throw new AppError("invalid", "REQUEST_INVALID", `${name} must be an object`, {
    details: { problems: [{ where: `/${name}`, what: "must be an object" }] },
  });
}

/** A whole number between the bounds: absent or odd values become the default, far ones the bound. */
export function clamp(
  value: number | undefined,
  {
    min,
    max,
    otherwise,
  }: { readonly min: number; readonly max: number; readonly otherwise: number },
): number {
  return value === undefined || Number.isNaN(value)
    ? otherwise
    : Math.min(max, Math.max(min, Math.trunc(value)));
}

/** @param limits `max` and default of `limit`. */
export function readPage(
  query: { readonly limit?: number | undefined; readonly offset?: number | undefined },
  { max, otherwise }: { readonly max: number; readonly otherwise: number },
): { readonly limit: number; readonly offset: number } {
  return {
    limit: clamp(query.limit, { min: 1, max, otherwise }),
    offset: clamp(query.offset, { min: 0, max: Number.MAX_SAFE_INTEGER, otherwise: 0 }),
  };
}

export function isTrue(value: string | boolean | undefined): boolean {
  return value === true || value === "true" || value === "1";
}
