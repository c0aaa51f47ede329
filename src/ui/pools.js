/** Pools and their workers. */
import { get, repeat } from "./client.js";
import { formatDuration } from "./format.js";
import { empty, errorCard, h, liveTable, liveTime, meter } from "./view.js";

const POOL_COLUMNS = [
  ["Pool"],
  ["Workers", "num"],
  ["Slots in use"],
  ["Running", "num"],
  ["Waiting", "num"],
  ["Oldest waits", "num wide"],
];
const WORKER_COLUMNS = [
  ["Worker"],
  ["Pool"],
  ["Status"],
  ["Slots in use", "wide"],
  ["Host", "wide"],
  ["Tools", "wide"],
  ["Heartbeat", "num"],
];

export function poolView(main, signal) {
  const body = h("div", {}, h("div", { class: "empty" }, "Loading…"));
  main.replaceChildren(h("h1", {}, "Pools"), body);
  const pools = liveTable(POOL_COLUMNS, { key: ({ name }) => name, render: poolRow });
  const workers = liveTable(WORKER_COLUMNS, { key: (row) => row.worker_id, render: workerRow });
  const update = async () => {
    const [poolList, { workers: workerList }] = await Promise.all([
      get("/api/worker/pools", signal),
      get("/api/workers", signal),
    ]);
    pools.update(poolList);
    workers.update(workerList);
    const isEmpty = poolList.length === 0 && workerList.length === 0;
    const parts = isEmpty
      ? [empty("No worker has registered yet. Start one with `noetl worker --pool NAME`.")]
      : [pools.element, workers.element];
    if (parts.length !== body.children.length || body.firstChild !== parts[0]) {
      body.replaceChildren(...parts);
    }
  };
  const onError = (error) => body.replaceChildren(errorCard(error));
  void repeat(signal, { ms: 2000, update, onError });
}

function poolRow(pool) {
  const hint = pool.workers === 0 && pool.queued > 0;
  return h(
    "tr",
    {},
    h(
      "td",
      {},
      pool.name,
      pool.waiting_reason && h("div", { class: "error" }, pool.waiting_reason),
      hint &&
        h(
          "div",
          { class: "dim" },
          "Start one: ",
          h("code", {}, `noetl worker --pool ${pool.name}`),
        ),
    ),
    h("td", { class: "num" }, String(pool.workers)),
    h("td", {}, slots(pool)),
    h("td", { class: "num" }, String(pool.running)),
    h("td", { class: "num" }, String(pool.queued)),
    h(
      "td",
      { class: "num wide" },
      pool.queued > 0 ? formatDuration(pool.oldest_queued_seconds) : "",
    ),
  );
}

function slots({ slots: all, free_slots: free }) {
  return [meter(all - free, all), h("span", { class: "dim" }, `${all - free} of ${all}`)];
}

function workerRow(worker) {
  const isLive = worker.status === "live";
  return h(
    "tr",
    {},
    h("td", {}, worker.name, h("div", { class: "dim" }, `version ${worker.version}`)),
    h("td", {}, worker.pool),
    h("td", {}, h("span", { class: `pill ${isLive ? "completed" : "cancelled"}` }, worker.status)),
    h("td", { class: "wide" }, slots(worker)),
    h(
      "td",
      { class: "wide" },
      `${worker.hostname} (${worker.pid})`,
      isLive && worker.metrics_url && h("div", {}, h("a", { href: worker.metrics_url }, "metrics")),
    ),
    h("td", { class: "dim wide" }, worker.tools.join(", ")),
    h("td", { class: "num" }, liveTime(worker.last_heartbeat, "ago")),
  );
}
