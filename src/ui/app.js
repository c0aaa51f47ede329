/** The frame of the page: which view is shown, by the hash, and whether the server is well. */
import { repeat } from "./client.js";
import { credentialView } from "./credentials.js";
import { executionView } from "./execution.js";
import { gpuView } from "./gpus.js";
import { listView } from "./list.js";
import { playbookView } from "./playbook.js";
import { playbooksView } from "./playbook-list.js";
import { poolView } from "./pools.js";
import { schedulesView, scheduleView } from "./schedules.js";
import { subscriptionsView, subscriptionView } from "./subscriptions.js";
import { show, tickTimes } from "./view.js";

const main = document.getElementById("main");
let leave = new AbortController();

/** In order: the first whose pattern fits. `view(main, signal, ...groups)`. */
const VIEWS = [
  { page: "list", pattern: /^#\/e\/(\d+)$/, view: openExecution, title: (id) => id },
  { page: "playbooks", pattern: /^#\/p\/([^/]+)(?:\/(\d+))?$/, view: playbookView, title: decoded },
  { page: "playbooks", pattern: /^#\/playbooks$/, view: playbooksView, title: () => "Playbooks" },
  { page: "schedules", pattern: /^#\/schedules\/([^/]+)$/, view: scheduleView, title: decoded },
  { page: "schedules", pattern: /^#\/schedules$/, view: schedulesView, title: () => "Schedules" },
  {
    page: "subscriptions",
    pattern: /^#\/subscriptions\/([^/]+)$/,
    view: subscriptionView,
    title: decoded,
  },
  {
    page: "subscriptions",
    pattern: /^#\/subscriptions$/,
    view: subscriptionsView,
    title: () => "Subscriptions",
  },
  {
    page: "credentials",
    pattern: /^#\/credentials$/,
    view: credentialView,
    title: () => "Credentials",
  },
  { page: "pools", pattern: /^#\/pools$/, view: poolView, title: () => "Pools" },
  { page: "gpus", pattern: /^#\/gpus$/, view: gpuView, title: () => "GPUs" },
  { page: "list", pattern: /^#?\/?(?:\?(.*))?$/, view: listView, title: () => "Executions" },
];

function route() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { page, pattern, view, title } =
    VIEWS.find((each) => each.pattern.test(location.hash)) ?? VIEWS.at(-1);
  const [, ...groups] = (pattern.exec(location.hash) ?? []).map((group) => group && decoded(group));
  for (const link of document.querySelectorAll("nav a")) {
    const isHere = link.dataset.page === page;
    link.classList.toggle("here", isHere);
    link.toggleAttribute("aria-current", isHere);
  }
  document.title = `${title(...groups)} · noetl`;
  Promise.resolve()
    .then(() => view(main, signal, ...groups))
    .catch((error) => signal.aborted || show(main, error));
  scrollTo(0, 0);
}

async function openExecution(target, signal, id) {
  await executionView(target, signal, id, { reload: route });
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch (_error) {
    return text;
  }
}

async function checkHealth() {
  const badge = document.getElementById("health");
  const answer = await fetch("/readyz")
    .then((response) => response.json())
    .catch(() => ({ status: "unreachable" }));
  const isOk = answer.status === "ok";
  badge.className = `health ${isOk ? "ok" : "bad"}`;
  badge.textContent = isOk
    ? `v${answer.version}`
    : [answer.status, answer.database, answer.nats]
        .filter((text) => text && text !== "ok")
        .join("; ");
}

/** `/` goes to the filter of a list, where there is one. */
function onKey(event) {
  const isTyping = event.target.closest("input, textarea, select, dialog") !== null;
  const find = main.querySelector("[data-find]");
  if (event.key === "/" && !isTyping && find !== null) {
    event.preventDefault();
    find.focus();
  }
}

addEventListener("hashchange", route);
addEventListener("keydown", onKey);
setInterval(() => document.hidden || tickTimes(document, Date.now()), 1000);
route();
void repeat(new AbortController().signal, {
  ms: 5000,
  update: checkHealth,
  onError: () => undefined,
});
