/** Pools and their workers. */
import { get, repeat } from "./client.js";
import { formatDuration, plural } from "./format.js";
import { empty, errorCard, h, liveTable, liveTime, meter, present } from "./view.js";

const POOL_COLUMNS = [
  ["Pool"],
  ["Workers", "num"],
  ["Slots in use"],
  ["GPUs leased", "wide"],
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
  ["Runs", "wide"],
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
    h("td", { class: "wide" }, gpuCounts(pool.gpus)),
    h("td", { class: "num" }, String(pool.running)),
    h("td", { class: "num" }, String(pool.queued)),
    h(
      "td",
      { class: "num wide" },
      pool.queued > 0 ? formatDuration(pool.oldest_queued_seconds) : "",
    ),
  );
}

/** Nothing for a pool that neither has GPUs nor is asked for some. */
function gpuCounts({ total, leased, unclean, out_of_service: broken, waiting }) {
  const notes = present([
    unclean > 0 && `${unclean} unclean`,
    broken > 0 && `${broken} out of service`,
    waiting > 0 && `${plural(waiting, "command")} waiting`,
  ]);
  return total + waiting === 0
    ? []
    : [
        meter(leased, total),
        h("a", { href: "#/gpus" }, `${leased} of ${plural(total, "GPU")}`),
        notes.length > 0 && h("div", { class: "waits" }, notes.join(", ")),
      ];
}

/** What its containers run in, and why not. */
function runtimeLine({ name, version, is_usable: isUsable, gpus, problem }) {
  const support = { cdi: "GPUs by CDI", hook: "GPUs by hook", cluster: "the cluster's GPUs" }[gpus];
  return isUsable
    ? h("div", {}, `${name} ${version}`, support && h("span", { class: "dim" }, `, ${support}`))
    : h("div", { class: "dim", title: problem }, `${name}: ${problem}`);
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
    h(
      "td",
      { class: "wide" },
      worker.runtimes.map(runtimeLine),
      worker.gpus.total > 0 && h("div", {}, plural(worker.gpus.total, "GPU")),
      h("div", { class: "dim" }, worker.tools.join(", ")),
    ),
    h("td", { class: "num" }, liveTime(worker.last_heartbeat, "ago")),
  );
}
