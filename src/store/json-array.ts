/** Many JSON texts as one parameter: cheaper than an array, whose elements must be escaped. */
export function jsonArray(texts: readonly (string | undefined)[]): string {
  return `[${texts.map((text) => text ?? "null").join(",")}]`;
}
