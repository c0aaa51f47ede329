/** Finds values that are stored apart in what the API shows of a result. Pure. */

const FOUND_MAX = 20;
const DEPTH_MAX = 6;
const OWN = new Set(["_ref", "_uri", "_size", "_type", "_length", "_preview", "$ref", "size"]);

/**
 * `{path, ref, size, type, length, preview, fields}` of each, outermost first; `path` is "" for the
 * value itself. Not looked for within one that is found.
 */
export function findStored(value, path = "", depth = 0) {
  if (typeof value !== "object" || value === null || depth > DEPTH_MAX) {
    return [];
  }
  if (typeof value._ref === "string") {
    return [describe(value, path)];
  }
  const found = [];
  for (const [key, part] of Object.entries(value).slice(0, 200)) {
    found.push(...findStored(part, path === "" ? key : `${path}.${key}`, depth + 1));
    if (found.length >= FOUND_MAX) {
      return found.slice(0, FOUND_MAX);
    }
  }
  return found;
}

function describe(value, path) {
  const fields = Object.fromEntries(Object.entries(value).filter(([name]) => !OWN.has(name)));
  return {
    path,
    ref: value._ref,
    size: value._size ?? undefined,
    type: value._type ?? undefined,
    length: value._length ?? undefined,
    preview: value._preview ?? undefined,
    fields: Object.keys(fields).length === 0 ? undefined : fields,
  };
}
