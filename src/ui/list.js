/** The list of executions. */
import { get, repeat } from "./client.js";
import { formatAgo, formatDuration, formatTime, h, pill, show, table } from "./view.js";

const PAGE = 50;

export function listView(main, signal) {
  const fail = (error) => show(main, error);
  const filter = { path: "", status: "", offset: 0 };
  const body = h("div", {}, h("div", { class: "empty" }, "Loading…"));
  const refresh = async () => {
    const query = new URLSearchParams({ limit: PAGE, offset: filter.offset });
    if (filter.path) {
      query.set("path", filter.path);
    }
    if (filter.status) {
      query.set("status", filter.status);
    }
    const rows = await get(`/api/executions?${query}`, signal);
    body.replaceChildren(
      rows.length === 0
        ? h(
            "div",
            { class: "card empty" },
            filter.path || filter.status
              ? "No execution matches."
              : "No executions yet. Start one with `noetl exec PATH`.",
          )
        : executionTable(rows),
      pager(rows.length),
    );
  };
  const change = (name) => (event) => {
    filter[name] = event.target.value;
    filter.offset = 0;
    refresh().catch(fail);
  };
  const pager = (count) =>
    h(
      "div",
      { class: "row pager", hidden: filter.offset === 0 && count < PAGE },
      h("span", { class: "grow" }),
      h(
        "button",
        {
          disabled: filter.offset === 0,
          onclick: () => {
            filter.offset = Math.max(0, filter.offset - PAGE);
            refresh().catch(fail);
          },
        },
        "Newer",
      ),
      h(
        "button",
        {
          disabled: count < PAGE,
          onclick: () => {
            filter.offset += PAGE;
            refresh().catch(fail);
          },
        },
        "Older",
      ),
    );
  main.replaceChildren(
    h(
      "div",
      { class: "row" },
      h("h1", { class: "grow" }, "Executions"),
      h("input", {
        type: "search",
        placeholder: "Filter by path",
        "aria-label": "Filter by path",
        oninput: change("path"),
      }),
      h(
        "select",
        { "aria-label": "Status", onchange: change("status") },
        h("option", { value: "" }, "any status"),
        ["running", "completed", "failed", "cancelled"].map((each) =>
          h("option", { value: each }, each),
        ),
      ),
    ),
    body,
  );
  void repeat(signal, { ms: 2000, update: refresh, onError: fail });
}

function executionTable(rows) {
  return table(
    [["Status"], ["Playbook"], ["Execution"], ["Started"], ["Duration", "num"], ["Events", "num"]],
    rows.map((row) =>
      h(
        "tr",
        {
          class: "link",
          onclick: () => {
            location.hash = `#/e/${row.execution_id}`;
          },
        },
        h("td", {}, pill(row.status)),
        h(
          "td",
          {},
          row.path,
          h("span", { class: "dim" }, row.version ? ` v${row.version}` : ""),
          row.error &&
            h(
              "div",
              { class: row.status === "FAILED" ? "error clip" : "dim clip", title: row.error },
              row.error,
            ),
        ),
        h("td", {}, h("a", { class: "mono", href: `#/e/${row.execution_id}` }, row.execution_id)),
        h("td", { title: formatTime(row.started_at) }, formatAgo(row.started_at)),
        h("td", { class: "num" }, formatDuration(row.duration_seconds)),
        h("td", { class: "num" }, String(row.event_count)),
      ),
    ),
  );
}
