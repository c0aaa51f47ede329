/** Pools and their workers. */
import { get, repeat } from "./client.js";
import { formatAgo, formatDuration, h, meter, show, table } from "./view.js";

export function poolView(main, signal) {
  const body = h("div");
  main.replaceChildren(h("h1", {}, "Pools"), body);
  const update = async () => {
    const [pools, { workers }] = await Promise.all([
      get("/api/worker/pools", signal),
      get("/api/workers", signal),
    ]);
    body.replaceChildren(
      pools.length === 0
        ? h(
            "div",
            { class: "card empty" },
            "No worker has registered yet. Start one with `noetl worker --pool NAME`.",
          )
        : table(
            [
              ["Pool"],
              ["Workers", "num"],
              ["Slots in use"],
              ["Free", "num"],
              ["Running", "num"],
              ["Queued", "num"],
              ["Oldest waits", "num"],
            ],
            pools.map((pool) =>
              h(
                "tr",
                {},
                h(
                  "td",
                  {},
                  pool.name,
                  pool.waiting_reason && h("div", { class: "error" }, pool.waiting_reason),
                ),
                h("td", { class: "num" }, String(pool.workers)),
                h("td", {}, meter(pool.slots - pool.free_slots, pool.slots)),
                h("td", { class: "num" }, `${pool.free_slots} of ${pool.slots}`),
                h("td", { class: "num" }, String(pool.running)),
                h("td", { class: "num" }, String(pool.queued)),
                h(
                  "td",
                  { class: "num" },
                  pool.queued > 0 ? formatDuration(pool.oldest_queued_seconds) : "",
                ),
              ),
            ),
          ),
      table(
        [
          ["Worker"],
          ["Pool"],
          ["Status"],
          ["Slots in use"],
          ["Host"],
          ["Tools"],
          ["Last heartbeat", "num"],
        ],
        workers.map((worker) =>
          h(
            "tr",
            {},
            h("td", {}, worker.name, h("div", { class: "dim" }, `version ${worker.version}`)),
            h("td", {}, worker.pool),
            h(
              "td",
              {},
              h(
                "span",
                { class: `pill ${worker.status === "live" ? "completed" : "cancelled"}` },
                worker.status,
              ),
            ),
            h(
              "td",
              {},
              meter(worker.slots - worker.free_slots, worker.slots),
              h("span", { class: "dim" }, `${worker.slots - worker.free_slots} of ${worker.slots}`),
            ),
            h(
              "td",
              {},
              `${worker.hostname} (${worker.pid})`,
              worker.status === "live" &&
                worker.metrics_url &&
                h("div", {}, h("a", { href: worker.metrics_url }, "metrics")),
            ),
            h("td", { class: "dim" }, worker.tools.join(", ")),
            h("td", { class: "num" }, formatAgo(worker.last_heartbeat)),
          ),
        ),
      ),
    );
  };
  void repeat(signal, { ms: 2000, update, onError: (error) => show(main, error) });
}
