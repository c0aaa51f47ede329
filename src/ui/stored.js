/** Values, and those that are stored apart because they are large. */
import { call, token } from "./client.js";
import { formatCount, formatSize } from "./format.js";
import { findStored } from "./stored-find.js";
import { errorCard, h, json } from "./view.js";

/** A result: the value itself, or what is known of it here and where the whole can be had. */
export function valueView(value, name) {
  const stored = findStored(value);
  if (stored.length === 0) {
    return json(value ?? null);
  }
  const [first] = stored;
  const isWhole = first.path === "";
  return h(
    "div",
    {},
    stored.map((each) => storedView(each, name)),
    isWhole && first.preview !== undefined && h("h3", {}, "Preview"),
    isWhole ? first.preview !== undefined && json(first.preview) : json(value),
    isWhole && first.fields !== undefined && [h("h3", {}, "Selected fields"), json(first.fields)],
  );
}

const TYPES = { array: "list", object: "map", string: "text" };

/** A step's result, of which the API may have given the beginning only. */
export function clippedView({ step, result, result_clipped: isClipped, result_uri: uri }) {
  const problem = h("div");
  return h(
    "div",
    {},
    isClipped &&
      h(
        "div",
        { class: "stored row" },
        h("span", { class: "grow" }, "The beginning of a large value"),
        downloadButton("uri", uri, fileName(step, ""), problem),
        problem,
      ),
    valueView(result, step),
  );
}

function storedView({ path, ref, size, type, length }, title) {
  const name = TYPES[type] ?? type ?? "value";
  const what = [
    length === undefined ? name : `${name} of ${formatCount(length)}`,
    size !== undefined && formatSize(size),
  ];
  const problem = h("div");
  return h(
    "div",
    { class: "stored" },
    h(
      "div",
      { class: "row" },
      h(
        "span",
        { class: "grow" },
        path && h("code", {}, path),
        " ",
        what.filter(Boolean).join(" "),
      ),
      downloadButton("ref", ref, fileName(title, path), problem),
    ),
    h("div", { class: "mono dim clip", title: ref }, ref),
    problem,
  );
}

function fileName(name, path) {
  return `${[name, path]
    .filter(Boolean)
    .join(".")
    .replace(/[^\w.-]+/g, "_")}.json`;
}

/** Streamed by the browser; read by this page first only where a token is needed. */
function downloadButton(kind, address, name, problem) {
  const href = `/api/result/resolve?${kind}=${encodeURIComponent(address)}`;
  if (token() === null) {
    return h("a", { class: "button", href, download: name }, "Download");
  }
  const button = h("button", {}, "Download");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const blob = await (await call(href)).blob();
      const url = URL.createObjectURL(blob);
      h("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch (error) {
      problem.replaceChildren(errorCard(error));
    } finally {
      button.disabled = false;
    }
  });
  return button;
}
