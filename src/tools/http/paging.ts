/**
 * The `paginate` field of an http task: which request comes after an answer, and where an answer
 * has its items. Pure; pages.ts walks.
 */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Answer } from "./answer.ts";

export const PAGING_MODES = ["link", "cursor", "page", "offset"] as const;

const PAGING_KEYS: ReadonlySet<string> = new Set([
  "mode",
  "items",
  "next",
  "param",
  "more",
  "start",
  "size",
  "size_param",
  "max_pages",
  "max_items",
]);

export interface Paging {
  /**
   * `link`: to the address that the `Link` header calls `next`, or that stands at `next` in the body.
   * `cursor`: `next` in the body is the value of the query parameter `param` for the next page.
   * `page`, `offset`: `param` counts pages, or items, from `start` on.
   */
  readonly mode: (typeof PAGING_MODES)[number];
  /** Path of the list in the body, dotted. Absent: the body itself is the list. */
  readonly items?: string;
  readonly next?: string;
  readonly param: string;
  /** Path of a value in the body that is false or empty on the last page. */
  readonly more?: string;
  readonly start: number;
  /** Items that are asked for in one page; a shorter page is the last. */
  readonly size?: number;
  readonly sizeParam?: string;
  /** The author's own limits: reaching them is no failure. */
  readonly maxPages?: number;
  readonly maxItems?: number;
}

/** What is wrong with a `paginate` field, in sentences; empty: nothing. */
export function checkPaging(value: Json | undefined): readonly string[] {
  if (value === undefined || value === null) {
    return [];
  }
  if (!isJsonObject(value)) {
    return ["`paginate` must be a map such as {mode: page, items: data}"];
  }
  const unknown = Object.keys(value).filter((key) => !PAGING_KEYS.has(key));
  return [
    ...unknown.map(
      (key) => `\`paginate.${key}\` is unknown; it takes ${[...PAGING_KEYS].join(", ")}`,
    ),
    ...(PAGING_MODES.some((mode) => mode === value["mode"])
      ? []
      : [`\`paginate.mode\` must be one of ${PAGING_MODES.join(", ")}`]),
    ...(value["mode"] === "cursor" && typeof value["next"] !== "string"
      ? ["`paginate.next` is missing: the path of the cursor in the body, for example meta.next"]
      : []),
    ...["start", "size", "max_pages", "max_items"].flatMap((key) => checkCount(value, key)),
  ];
}

function checkCount(value: JsonObject, key: string): readonly string[] {
  const count = value[key];
  const isFine = count === undefined || count === null || toCount(count) !== undefined;
  return isFine ? [] : [`\`paginate.${key}\` must be a whole number, not ${JSON.stringify(count)}`];
}

function toCount(value: Json | undefined): number | undefined {
  const count = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof count === "number" && Number.isInteger(count) && count >= 0 ? count : undefined;
}

/** Undefined without the field; call {@link checkPaging} first. */
export function readPaging(value: Json | undefined): Paging | undefined {
  if (!isJsonObject(value)) {
    return undefined;
  }
  const mode = PAGING_MODES.find((candidate) => candidate === value["mode"]) ?? "link";
  const defaults = { link: "", cursor: "cursor", page: "page", offset: "offset" } as const;
  return {
    mode,
    param: textAt(value, "param") ?? defaults[mode],
    start: toCount(value["start"]) ?? (mode === "page" ? 1 : 0),
    ...optional("items", textAt(value, "items")),
    ...optional("next", textAt(value, "next")),
    ...optional("more", textAt(value, "more")),
    ...optional("size", toCount(value["size"])),
    ...optional("sizeParam", textAt(value, "size_param")),
    ...optional("maxPages", toCount(value["max_pages"])),
    ...optional("maxItems", toCount(value["max_items"])),
  };
}

function textAt(value: JsonObject, key: string): string | undefined {
  const text = value[key];
  return typeof text === "string" && text !== "" ? text : undefined;
}

function optional<Name extends string, Value>(
  name: Name,
  value: Value | undefined,
): Partial<Record<Name, Value>> {
  return value === undefined ? {} : ({ [name]: value } as Record<Name, Value>);
}

/** The address of the first page. */
export function firstUrl(paging: Paging, address: string): string {
  const url = new URL(address);
  if (paging.sizeParam !== undefined && paging.size !== undefined) {
    url.searchParams.set(paging.sizeParam, String(paging.size));
  }
  if (paging.mode === "page" || paging.mode === "offset") {
    url.searchParams.set(paging.param, String(paging.start));
  }
  return url.toString();
}

/** Undefined when there is no list where the field says. */
export function pageItems(paging: Paging, answer: Answer): readonly Json[] | undefined {
  const items = paging.items === undefined ? answer.data : valueAt(answer.data, paging.items);
  return Array.isArray(items) ? (items as readonly Json[]) : undefined;
}

export interface Walked {
  /** Pages read so far, this one included. */
  readonly pages: number;
  /** Items read so far, this page's included. */
  readonly items: number;
  /** Items of this page. */
  readonly count: number;
}

/** The address of the page after this answer; undefined after the last. */
export function nextUrl(
  paging: Paging,
  address: string,
  answer: Answer,
  walked: Walked,
): string | undefined {
  if (paging.more !== undefined && !isTrue(valueAt(answer.data, paging.more))) {
    return undefined;
  }
  switch (paging.mode) {
    case "link":
      return nextLink(paging, answer);
    case "cursor":
      return nextCursor(paging, address, answer);
    case "page":
      return isLast(paging, walked) ? undefined : counted(paging, address, walked.pages);
    case "offset":
      return isLast(paging, walked) ? undefined : counted(paging, address, walked.items);
  }
}

/** Without a word from the service an empty or short page is the last. */
function isLast({ more, size }: Paging, { count }: Walked): boolean {
  return more === undefined && (count === 0 || (size !== undefined && count < size));
}

function counted({ param, start }: Paging, address: string, done: number): string {
  const url = new URL(address);
  url.searchParams.set(param, String(start + done));
  return url.toString();
}

function nextCursor(
  { next = "", param }: Paging,
  address: string,
  answer: Answer,
): string | undefined {
  const cursor = valueAt(answer.data, next);
  if (!isTrue(cursor) || typeof cursor === "object") {
    return undefined;
  }
  const url = new URL(address);
  url.searchParams.set(param, String(cursor));
  return url.toString();
}

function nextLink({ next }: Paging, { data, headers, url }: Answer): string | undefined {
  const link = next === undefined ? linkOf(headers["link"] ?? "") : valueAt(data, next);
  return typeof link === "string" && link !== "" ? new URL(link, url).toString() : undefined;
}

/** Target of `rel="next"` in a `Link` header. See RFC 8288. */
function linkOf(header: string): string | undefined {
  for (const [, target, parameters = ""] of header.matchAll(/<([^>]*)>((?:[^,"]|"[^"]*")*)/g)) {
    if (/;\s*rel\s*=\s*"?(?:[^";]*\s)?next(?:\s[^";]*)?"?\s*(?:;|$)/i.test(parameters.trim())) {
      return target;
    }
  }
  return undefined;
}

function isTrue(value: Json | undefined): value is Exclude<Json, null> {
  return value !== undefined && value !== null && value !== false && value !== "" && value !== 0;
}

/** By a dotted path; numbers are positions in lists. */
function valueAt(data: Json, path: string): Json | undefined {
  let value: Json | undefined = data;
  for (const name of path.split(".")) {
    if (Array.isArray(value)) {
      value = (value as readonly Json[])[Number(name)];
    } else {
      value = isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
    }
  }
  return value;
}
