/** The frame of the page: which view is shown, by the hash, and whether the server is well. */
import { repeat } from "./client.js";
import { executionView } from "./execution.js";
import { listView } from "./list.js";
import { poolView } from "./pools.js";
import { show } from "./view.js";

const main = document.getElementById("main");
let leave = new AbortController();

function route() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const [, id] = /^#\/e\/(\d+)/.exec(location.hash) ?? [];
  const page = location.hash.startsWith("#/pools") ? "pools" : "list";
  for (const link of document.querySelectorAll("nav a")) {
    link.classList.toggle("here", link.dataset.page === page);
  }
  document.title = id ? `${id} · noetl` : "noetl";
  if (id) {
    executionView(main, signal, id).catch((error) => signal.aborted || show(main, error));
  } else if (page === "pools") {
    poolView(main, signal);
  } else {
    listView(main, signal);
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

addEventListener("hashchange", route);
route();
void repeat(new AbortController().signal, {
  ms: 5000,
  update: checkHealth,
  onError: () => undefined,
});
