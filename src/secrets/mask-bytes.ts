/** Hides secrets in bytes that pass by, wherever the pieces are cut. */
import { MASK, secretForms } from "./mask.ts";

/**
 * The same bytes with the mask in place of each secret.
 *
 * @param secrets as for `createMask`.
 */
export async function* maskBytes(
  secrets: Iterable<string>,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  // One character a byte, so that positions agree whatever the encoding.
  const forms = secretForms(secrets).map((form) => Buffer.from(form).toString("latin1"));
  if (forms.length === 0) {
    yield* source;
    return;
  }
  const longestFirst = forms.toSorted((a, b) => b.length - a.length);
  const pattern = new RegExp(longestFirst.map((form) => RegExp.escape(form)).join("|"), "g");
  const kept = (longestFirst[0]?.length ?? 0) - 1;
  let rest = "";
  for await (const piece of source) {
    const text = rest + Buffer.from(piece).toString("latin1");
    const { done, tail } = maskUpTo(text, pattern, Math.max(0, text.length - kept));
    rest = tail;
    if (done !== "") {
      yield Buffer.from(done, "latin1");
    }
  }
  const { done, tail } = maskUpTo(rest, pattern, rest.length);
  yield Buffer.from(done + tail, "latin1");
}

/** Masks what begins before `end`: what begins later may go on in the next piece. */
function maskUpTo(text: string, pattern: RegExp, end: number) {
  let done = "";
  let position = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index >= end) {
      break;
    }
    done += text.slice(position, match.index) + MASK;
    position = match.index + match[0].length;
  }
  const cut = Math.max(position, end);
  return { done: done + text.slice(position, cut), tail: text.slice(cut) };
}
