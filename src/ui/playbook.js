/** One playbook: its picture, a form to run it, its versions, its newest executions and its text. */
import { get, post } from "./client.js";
import { formatTime, plural } from "./format.js";
import { createGraph } from "./graph-view.js";
import { briefTable, select } from "./list.js";
import { readVersions } from "./playbook-list.js";
import { Progress } from "./progress.js";
import { runForm } from "./run-form.js";
import { empty, h, present } from "./view.js";

export async function playbookView(main, signal, path, version) {
  const entry = await post("/api/catalog/resource", { path, version: version ?? null });
  const [graph, schema, executions, versions] = await Promise.all([
    get(`/api/catalog/graph?catalog_id=${entry.catalog_id}`, signal).catch(() => undefined),
    get(`/api/catalog/${path}/ui_schema?version=${entry.version}`, signal).catch(() => undefined),
    get(`/api/executions?catalog_id=${entry.catalog_id}&limit=10`, signal),
    readVersions(path, signal),
  ]);
  const picture = graph && createGraph(graph, { width: Math.max(280, main.clientWidth - 40) });
  picture?.draw(new Progress());
  main.replaceChildren(
    headOf(entry, graph, versions),
    ...present([picture && card("Steps", picture.element, "graph-card")]),
    h(
      "div",
      { class: "columns even" },
      card(
        "Run",
        runForm({ path, version: entry.version, schema, workload: graph?.workload }, goTo),
      ),
      h(
        "div",
        {},
        h("h2", { class: "over" }, `Newest executions of v${entry.version}`),
        executions.length === 0
          ? empty(`None yet. Run it here, or with \`noetl exec ${path}\`.`)
          : briefTable(executions),
      ),
    ),
    card("Document", h("pre", { class: "document", tabindex: "0" }, entry.content)),
  );
}

const goTo = (id) => {
  location.hash = `#/e/${id}`;
};

const card = (title, element, kind = "") =>
  h("div", { class: `card ${kind}` }, h("h2", {}, title), element);

function headOf(entry, graph, versions) {
  const change = (event) => {
    location.hash = `#/p/${encodeURIComponent(entry.path)}/${event.target.value}`;
  };
  return h(
    "div",
    {},
    h(
      "div",
      { class: "row" },
      h("h1", {}, entry.path),
      select(
        "Version",
        versions.map((each) => [each, `v${each}`]),
        { value: entry.version, onchange: change },
      ),
      h("span", { class: "dim" }, `registered ${formatTime(entry.created_at)}`),
      graph && h("span", { class: "dim" }, plural(graph.steps.length, "step")),
    ),
    graph?.description && h("p", { class: "dim" }, graph.description),
  );
}
