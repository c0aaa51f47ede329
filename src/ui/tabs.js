/** Views of which one is shown; each is made when it is opened, and ended when another one is. */
import { h } from "./view.js";

/** `tabs`: `{name, create(signal)}`. The first is open. */
export function createTabs(label, tabs) {
  const bar = h("div", { class: "tabs", role: "tablist", "aria-label": label });
  const body = h("div", { role: "tabpanel" });
  let inside = new AbortController();
  const buttons = new Map();
  const open = (name) => {
    inside.abort();
    inside = new AbortController();
    for (const [each, button] of buttons) {
      button.setAttribute("aria-selected", String(each === name));
      button.tabIndex = each === name ? 0 : -1;
    }
    const { create } = tabs.find((tab) => tab.name === name);
    body.replaceChildren(create(inside.signal));
  };
  for (const { name } of tabs) {
    const button = h("button", { role: "tab", onclick: () => open(name) }, name);
    buttons.set(name, button);
    bar.append(button);
  }
  bar.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    const names = [...buttons.keys()];
    const at = names.findIndex((name) => buttons.get(name) === document.activeElement);
    if (step !== undefined && at !== -1) {
      const name = names.at((at + step) % names.length);
      buttons.get(name).focus();
      open(name);
    }
  });
  open(tabs[0].name);
  return { element: h("div", {}, bar, body), open, close: () => inside.abort() };
}
