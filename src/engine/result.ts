/** Stored values: what they are called, who keeps them how long, and what is known of them. */
import type { ExecutionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import { parseJson } from "../core/json.ts";
import { decodePart, splitRef } from "../template/ref.ts";
import type { ResultRef } from "../template/scope.ts";

export const RESULT_SCOPES = ["step", "execution", "workflow", "permanent"] as const;

/**
 * How long a value is kept: until its execution ends; as long as its execution; as long as the
 * outermost execution; until it is deleted. A time to live may end each of them sooner.
 */
export type ResultScope = (typeof RESULT_SCOPES)[number];

export const JSON_TYPE = "application/json";

/** A value to be stored; its bytes come beside it. */
export interface NewResult {
  readonly executionId: ExecutionId;
  /** For people, and to find it by: the step, `ctx.NAME`, or what an artifact is put as. */
  readonly name: string;
  /** That made it. */
  readonly step?: string | undefined;
  /** Default `execution`. */
  readonly scope?: ResultScope | undefined;
  readonly ttlMs?: number | undefined;
  /** Default JSON. */
  readonly contentType?: string | undefined;
  /** Of the bytes, hex. Given: bytes that differ are refused, known ones need not be sent. */
  readonly sha256?: string | undefined;
  /** Of the bytes. Given: too many are refused before the first is sent. */
  readonly size?: number | undefined;
}

/** What is known of a stored value without its bytes. */
export interface ResultInfo {
  readonly ref: ResultRef;
  readonly executionId: ExecutionId;
  readonly name: string;
  readonly step?: string | undefined;
  readonly scope: ResultScope;
  readonly contentType: string;
  readonly sha256: string;
  /** Bytes of the value. */
  readonly size: number;
  /** Bytes as they are stored. */
  readonly storedSize: number;
  /** `inline`: part of the log, not stored apart. */
  readonly store: "postgres" | "s3" | "inline";
  readonly createdAtMs: number;
  readonly expiresAtMs?: number | undefined;
}

export function isJsonType(contentType: string): boolean {
  return /^application\/(?:[\w.+-]+\+)?json\b/i.test(contentType);
}

/**
 * What templates and tools see of stored bytes: JSON as its value, other content as text, or as base64
 * where it is no text.
 *
 * @throws SyntaxError on JSON that is none.
 */
export function decodeResult(bytes: Uint8Array, contentType: string): Json {
  const isBinary = !isJsonType(contentType);
  try {
    const text = new TextDecoder("utf-8", { fatal: isBinary }).decode(bytes);
    return isBinary ? text : parseJson(text);
  } catch (error) {
    if (isBinary) {
      return bytes.toBase64();
    }
    throw error;
  }
}

/** Scope of a text that says one. */
export function toScope(value: unknown): ResultScope | undefined {
  return RESULT_SCOPES.find((scope) => scope === value);
}

/** What people and playbooks may write to name a stored value. */
export type ResultAddress =
  | {
      readonly kind: "content";
      readonly executionId: ExecutionId;
      readonly name: string;
      readonly sha256: string;
      /** Names or indexes that lead to a part of the value. */
      readonly pointer: readonly string[];
    }
  /** The value of a step, with `row` of one item of its loop; or an artifact's by its name. */
  | {
      readonly kind: "place";
      readonly executionId: ExecutionId;
      readonly step: string;
      readonly row: number | undefined;
      readonly pointer: readonly string[];
    };

/** `noetl://execution/ID/result/NAME/SHA256`. */
export function contentRef(executionId: string, name: string, sha256: string): string {
  return `noetl://execution/${executionId}/result/${encodeURIComponent(name)}/${sha256}`;
}

/** `noetl://default/default/results/ID/STEP/FRAME/ROW/ATTEMPT`. */
export function placeUri(executionId: string, step: string, row = 0): string {
  return `noetl://default/default/results/${executionId}/${encodeURIComponent(step)}/0/${row}/1`;
}

/** The same without a row: the value of the step, of a loop all of it. */
export function valueUri(executionId: string, step: string): string {
  return `noetl://default/default/results/${executionId}/${encodeURIComponent(step)}`;
}

const CONTENT = /^noetl:\/\/execution\/(\d+)\/result\/([^/]+)\/([0-9a-f]{64})$/;
const PLACE = /^noetl:\/\/[^/]+\/[^/]+\/results\/(\d+)\/([^/]+)(?:\/\d+(?:\/(\d+)(?:\/\d+)?)?)?$/;

/** Reads a reference, a canonical URI or the same as a URN; undefined for anything else. */
export function parseAddress(text: string): ResultAddress | undefined {
  const { base, pointer } = splitRef(toUri(text.trim()));
  const [, contentId, name, sha256] = CONTENT.exec(base) ?? [];
  if (isId(contentId) && name !== undefined && sha256 !== undefined) {
    const executionId = contentId as ExecutionId;
    return { kind: "content", executionId, name: decodePart(name), sha256, pointer };
  }
  const [, placeId, step, row] = PLACE.exec(base) ?? [];
  return isId(placeId) && step !== undefined
    ? {
        kind: "place",
        executionId: placeId as ExecutionId,
        step: decodePart(step),
        row: row === undefined ? undefined : Number(row),
        pointer,
      }
    : undefined;
}

/** `urn:noetl:a:b:c` says the same as `noetl://a/b/c`. */
function toUri(text: string): string {
  return text.startsWith("urn:noetl:") ? `noetl://${text.slice(10).replaceAll(":", "/")}` : text;
}
