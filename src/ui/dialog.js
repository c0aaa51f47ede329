/** Questions before something is done. */
import { readJson } from "./json-text.js";
import { errorCard, h } from "./view.js";

/**
 * Asks, and does it: `run()` is called on confirmation, and what it throws is shown in the dialog,
 * which stays open. Resolves with what it gave, or undefined when nothing was done.
 */
export function ask({ title, text, fields = [], confirm, isDangerous = false, run }) {
  const problem = h("div");
  const yes = h("button", { type: "submit", class: isDangerous ? "danger" : "primary" }, confirm);
  const no = h("button", { type: "button" }, "Not now");
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", {}, title),
    text && h("p", {}, text),
    fields.map((field) => field.element ?? field),
    problem,
    h("div", { class: "row" }, no, yes),
  );
  const dialog = h("dialog", { "aria-label": title }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    let outcome;
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(outcome);
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (fields.some((field) => field.isBad?.())) {
        return;
      }
      yes.disabled = true;
      try {
        outcome = (await run()) ?? {};
        dialog.close();
      } catch (error) {
        problem.replaceChildren(errorCard(error));
      } finally {
        yes.disabled = false;
      }
    });
  });
}

let ids = 0;

/** A text with its label: `{element, value()}`. */
export function textField(label, { value = "", placeholder = "", help, isSecret } = {}) {
  const type = isSecret ? "password" : "text";
  const input = h("input", { type, placeholder, value, name: label, autocomplete: "off" });
  return { element: labelled(label, input, help), value: () => input.value.trim() };
}

/** JSON, checked while it is typed: `{element, text(), isBad()}`. */
export function jsonField(label, { value, isObject = false, help, rows = 8 } = {}) {
  const area = h("textarea", { rows, spellcheck: "false", class: "mono", name: label });
  area.value = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const problem = h("div", { class: "error small", role: "status" });
  const check = () => {
    const { error } = readJson(area.value, { isObject });
    problem.textContent = error ?? "";
    area.setAttribute("aria-invalid", String(error !== undefined));
    return error !== undefined;
  };
  area.addEventListener("input", check);
  return {
    element: h("div", {}, labelled(label, area, help), problem),
    text: () => area.value,
    isBad: () => {
      const isBad = check();
      if (isBad) {
        area.focus();
      }
      return isBad;
    },
  };
}

/** A box to tick: `{element, value()}`. */
export function checkField(label, isTicked = false) {
  const input = h("input", { type: "checkbox", checked: isTicked, name: label });
  return { element: h("label", { class: "check" }, input, label), value: () => input.checked };
}

export function labelled(label, input, help) {
  const id = `field-${++ids}`;
  input.id = id;
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    input,
    help && h("div", { class: "dim small" }, help),
  );
}

/** A short note at the lower edge, for a while. */
export function notify(text) {
  const note = h("div", { class: "toast", role: "status" }, text);
  document.body.append(note);
  setTimeout(() => note.remove(), 4000);
}
