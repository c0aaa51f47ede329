/** Failures: what, where and why, with the end of what the task wrote about it. */
import { h } from "./view.js";

const TAIL_LINES = 14;

/**
 * The last lines of a text, and the ones before: `{tail, head}`, where `head` is "" if nothing was left
 * out. Pure.
 */
export function tailOf(text, count = TAIL_LINES) {
  const lines = text.trimEnd().split("\n");
  return {
    tail: lines.slice(-count).join("\n"),
    head: lines.slice(0, Math.max(0, lines.length - count)).join("\n"),
  };
}

/** `details` is a failure of the API (`error_details`), `text` its line. `onStep` makes its step a link. */
export function failureView(details, text, onStep) {
  if (!details) {
    return text ? h("div", { class: "failure" }, h("div", { class: "message" }, text)) : null;
  }
  const { kind, code, message, step, index, attempt, retryable, status } = details;
  const place = step && `${step}${index === undefined ? "" : `[${index}]`}`;
  const says = [
    ["kind", kind],
    ["code", code],
    ["status", status],
    ["attempt", attempt],
  ].filter(([, value]) => value !== undefined && value !== null);
  return h(
    "div",
    { class: "failure" },
    h(
      "div",
      { class: "row chips" },
      place &&
        (onStep
          ? h("button", { class: "chip link", onclick: () => onStep(step) }, place)
          : h("span", { class: "chip" }, place)),
      says.map(([name, value]) => h("span", { class: "chip", title: name }, `${name} ${value}`)),
      retryable === true &&
        h("span", { class: "chip", title: "May pass when tried again" }, "retryable"),
    ),
    h("div", { class: "message" }, message),
    details.stderr && stderrView(details.stderr),
  );
}

function stderrView(stderr) {
  const { tail, head } = tailOf(stderr);
  return [
    head && h("details", {}, h("summary", {}, "Earlier output"), h("pre", {}, head)),
    h("pre", { class: "stderr", tabindex: "0", "aria-label": "Last lines on stderr" }, tail),
  ];
}
