/** Walks through all pages of an http task and joins their items, in order. */
import { sleep } from "../../core/clock.ts";
import type { Json } from "../../core/json.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import type { Answer } from "./answer.ts";
import { statusFailure, withoutQuery } from "./answer.ts";
import type { Paging } from "./paging.ts";
import { firstUrl, nextUrl, pageItems } from "./paging.ts";

/** A service that always has one more page would never end. */
const PAGES_MAX = 10_000;
/** Tries of one page that is answered with `Retry-After`. */
const TRIES_MAX = 5;

export interface Walk {
  readonly paging: Paging;
  readonly url: string;
  /** Sends the request to another address. */
  readonly send: (url: string) => Promise<Answer>;
  /** All bodies together, bytes. */
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

export interface Pages {
  readonly items: readonly Json[];
  readonly pageCount: number;
  /** True when `max_pages` or `max_items` ended the walk before the last page. */
  readonly isCut: boolean;
  /** The last one. */
  readonly answer: Answer;
  /** Why the walk ended early; the items before are there. */
  readonly failure?: Failure;
}

/** @throws what `send` throws. */
export async function walkPages(walk: Walk): Promise<Pages> {
  const { paging } = walk;
  const items: Json[] = [];
  const seen = new Set<string>();
  let size = 0;
  let url = firstUrl(paging, walk.url);
  for (let pageCount = 1; ; pageCount++) {
    seen.add(url);
    const answer = await sendPatiently(walk, url);
    const found = pageItems(paging, answer);
    size += answer.size;
    const problem = problemOf(walk, { answer, found, size, pageCount });
    if (problem !== undefined || found === undefined) {
      return { items, pageCount, isCut: false, answer, ...(problem ? { failure: problem } : {}) };
    }
    items.push(...found);
    walk.log(`page ${pageCount}: ${found.length} items, ${items.length} so far`);
    const walked = { pages: pageCount, items: items.length, count: found.length };
    const next = nextUrl(paging, url, answer, walked);
    const { maxItems = Number.POSITIVE_INFINITY, maxPages = Number.POSITIVE_INFINITY } = paging;
    if (next === undefined || items.length >= maxItems || pageCount >= maxPages) {
      const isCut = next !== undefined || items.length > maxItems;
      return { items: items.slice(0, maxItems), pageCount, isCut, answer };
    }
    if (seen.has(next)) {
      return { items, pageCount, isCut: false, answer, failure: circular(pageCount, next) };
    }
    url = next;
  }
}

interface Seen {
  readonly answer: Answer;
  readonly found: readonly Json[] | undefined;
  readonly size: number;
  readonly pageCount: number;
}

function problemOf(walk: Walk, { answer, found, size, pageCount }: Seen): Failure | undefined {
  const page = `page ${pageCount}`;
  if (answer.status >= 400) {
    const refused = statusFailure(answer);
    return { ...refused, message: `${page}: ${refused.message}` };
  }
  if (found === undefined) {
    const where = walk.paging.items === undefined ? "the body" : `\`${walk.paging.items}\``;
    const message = `${page} of ${withoutQuery(answer.url)} has no list at ${where}; name its path in paginate.items`;
    return failure("schema", message, { code: "PAGE_WITHOUT_ITEMS" });
  }
  if (size > walk.maxBytes) {
    const message = `${page}: the pages together are larger than ${walk.maxBytes} bytes; set paginate.max_items`;
    return failure("limit", message, { code: "RESPONSE_TOO_LARGE" });
  }
  if (pageCount >= PAGES_MAX && walk.paging.maxPages === undefined) {
    const message = `there are more than ${PAGES_MAX} pages; set paginate.max_pages`;
    return failure("limit", message, { code: "PAGES_LIMIT" });
  }
  return undefined;
}

function circular(pageCount: number, next: string): Failure {
  const message = `page ${pageCount} leads back to ${withoutQuery(next)}, which was read before`;
  return failure("schema", message, { code: "PAGES_CIRCULAR" });
}

/** A page that is refused for now is asked for again when the service says so. */
async function sendPatiently(walk: Walk, url: string): Promise<Answer> {
  for (let count = 1; ; count++) {
    const answer = await walk.send(url);
    const { retryable, retryAfterMs } = answer.status < 400 ? {} : statusFailure(answer);
    if (retryable !== true || retryAfterMs === undefined || count >= TRIES_MAX) {
      return answer;
    }
    walk.log(`HTTP ${answer.status}: again in ${retryAfterMs / 1000} s, as Retry-After says`);
    await sleep(retryAfterMs, walk.signal);
  }
}
