/** JSON that people type. Pure. */

/**
 * `{value}` or `{error}`, the latter for people and with the place. `isObject`: anything else than an
 * object is refused. An empty text is `{}`, or null where that is allowed.
 */
export function readJson(text, { isObject = false } = {}) {
  if (text.trim() === "") {
    return { value: isObject ? {} : null };
  }
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { error: `Not JSON yet: ${placed(error.message, text)}` };
  }
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject && !isMap ? { error: 'Must be an object, such as {"name": "value"}' } : { value };
}

/** The place as line and column, where the engine says it as a position. */
function placed(message, text) {
  const position = /at position (\d+)/.exec(message)?.[1];
  if (position === undefined || /line \d+/.test(message)) {
    return message;
  }
  const lines = text.slice(0, Number(position)).split("\n");
  return `${message} (line ${lines.length}, column ${lines.at(-1).length + 1})`;
}

/**
 * `{"payload": …}` with the text as it was typed: numbers keep all their digits, ids too.
 * `fields` are further ones; those that are undefined are left out.
 */
export function bodyWith(name, text, fields = {}) {
  const rest = Object.entries(fields).filter(([, value]) => value !== undefined);
  const parts = rest.map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  const payload = text.trim() === "" ? "{}" : text;
  return `{${[`${JSON.stringify(name)}: ${payload}`, ...parts].join(", ")}}`;
}
