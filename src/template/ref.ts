/**
 * References to stored values, as far as templates see them.
 *
 * A reference may carry an outline of what it stands for, made by whoever stored it: the length of a
 * list, and fields whose values are at hand or are references to parts of the same value (`…#/a/0`).
 * What the outline knows needs no loading.
 */
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { TemplateLimitFault } from "./error.ts";
import type { Resolved, ResultRef } from "./scope.ts";
import { asPlainData, isResultRef, LOOK_ALIKE, RefNeededError, UnreadableRef } from "./scope.ts";

/** What the outline says of a name or index. */
export type Outlined =
  | { readonly isKnown: true; readonly value: Json | undefined }
  | { readonly isKnown: false };

const UNKNOWN: Outlined = { isKnown: false };

/** The loaded value; undefined if it is not at hand. */
export function findLoaded(ref: ResultRef, resolved: Resolved): Json | undefined {
  const found = find(ref, resolved);
  return found instanceof UnreadableRef ? undefined : found;
}

/** The loaded value. @throws RefNeededError if it is not at hand, TemplateLimitFault if it never is. */
export function loadRef(ref: ResultRef, resolved: Resolved): Json {
  const found = find(ref, resolved);
  if (found instanceof UnreadableRef) {
    throw new TemplateLimitFault(found.reason);
  }
  if (found === undefined) {
    throw new RefNeededError(ref.$ref);
  }
  return found;
}

/** A part is at hand with the whole. What only looks like a reference is itself its value. */
function find(ref: ResultRef, resolved: Resolved): Json | UnreadableRef | undefined {
  const found = findWhole(ref, resolved);
  return found === LOOK_ALIKE ? asPlainData(ref) : found;
}

function findWhole({ $ref }: ResultRef, resolved: Resolved) {
  const direct = resolved.get($ref);
  if (direct !== undefined || !$ref.includes("#")) {
    return direct;
  }
  const { base, pointer } = splitRef($ref);
  const whole = resolved.get(base);
  return whole === undefined || whole === LOOK_ALIKE || whole instanceof UnreadableRef
    ? whole
    : (walk(whole, pointer) ?? null);
}

/** What is known of one name or index without loading. */
export function outlined(ref: ResultRef, step: string | number): Outlined {
  const key = String(typeof step === "number" && step < 0 ? (ref.length ?? 0) + step : step);
  const { fields, length } = ref;
  if (fields !== undefined && Object.hasOwn(fields, key)) {
    return { isKnown: true, value: fields[key] };
  }
  const isOutside = typeof step === "number" && length !== undefined && Number(key) >= length;
  const isComplete = ref.type === "object" && fields !== undefined && ref.isPartial !== true;
  return isOutside || isComplete ? { isKnown: true, value: undefined } : UNKNOWN;
}

/** The fields of an object whose outline names all of them, large ones as references. */
export function outlinedObject(ref: ResultRef): Json | undefined {
  return ref.type === "object" && ref.isPartial !== true ? ref.fields : undefined;
}

/** Number of elements or characters, where it is known. */
export function outlinedLength(value: unknown, resolved: Resolved): number | undefined {
  return isResultRef(value) && !resolved.has(value.$ref) ? value.length : undefined;
}

/** The stored value that a reference is a part of, and the names that lead to the part. */
export function splitRef(text: string): {
  readonly base: string;
  readonly pointer: readonly string[];
} {
  const at = text.indexOf("#");
  if (at === -1) {
    return { base: text, pointer: [] };
  }
  const parts = text
    .slice(at + 1)
    .split("/")
    .slice(1);
  return { base: text.slice(0, at), pointer: parts.map(unescapePart) };
}

/** A reference to a part. */
export function joinRef(base: string, pointer: readonly (string | number)[]): string {
  return pointer.length === 0 ? base : `${base}#/${pointer.map(escapePart).join("/")}`;
}

function escapePart(part: string | number): string {
  return encodeURIComponent(String(part).replaceAll("~", "~0").replaceAll("/", "~1"));
}

function unescapePart(part: string): string {
  return decodePart(part).replaceAll("~1", "/").replaceAll("~0", "~");
}

/** One part of a URI as text. */
export function decodePart(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A percent sign that encodes nothing.
    return text;
  }
}

/** The part that the names lead to; undefined where they lead nowhere. */
export function walk(value: Json, pointer: readonly string[]): Json | undefined {
  let current: Json | undefined = value;
  for (const name of pointer) {
    if (Array.isArray(current)) {
      current = (current as readonly Json[])[Number(name)];
    } else {
      current = isJsonObject(current) && Object.hasOwn(current, name) ? current[name] : undefined;
    }
  }
  return current;
}
