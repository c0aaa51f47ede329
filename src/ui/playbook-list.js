/** Playbooks of the catalog. */
import { get } from "./client.js";
import { empty, errorCard, h, liveTime, playbookLink, table } from "./view.js";

const COLUMNS = [["Playbook"], ["Versions", "num"], ["Newest"]];

export function playbooksView(main, signal) {
  const body = h("div", {}, h("div", { class: "empty" }, "Loading…"));
  let rows = [];
  const draw = (text) => {
    const shown = rows.filter(({ path }) => path.toLowerCase().includes(text.toLowerCase()));
    body.replaceChildren(listOf(shown, rows.length === 0));
  };
  main.replaceChildren(
    h(
      "div",
      { class: "row" },
      h("h1", { class: "grow" }, "Playbooks"),
      h("input", {
        type: "search",
        placeholder: "Filter by path",
        "aria-label": "Filter by path",
        "data-find": true,
        oninput: (event) => draw(event.target.value),
      }),
    ),
    body,
  );
  get("/api/catalog/list/playbook?limit=1000", signal)
    .then(({ entries }) => {
      rows = byPath(entries);
      draw("");
    })
    .catch((error) => signal.aborted || body.replaceChildren(errorCard(error)));
}

/** One for each path, by name: `{path, versions, newest}`. Pure. */
export function byPath(entries) {
  const groups = Map.groupBy(entries, ({ path }) => path);
  return [...groups]
    .map(([path, list]) => ({
      path,
      versions: list.map(({ version }) => version).sort((left, right) => right - left),
      newest: list.reduce((left, right) => (left.version > right.version ? left : right)),
    }))
    .sort((left, right) => (left.path < right.path ? -1 : 1));
}

function listOf(rows, isEmpty) {
  if (rows.length === 0) {
    return empty(
      isEmpty
        ? "No playbooks yet. Register one with `noetl register FILE.yaml`."
        : "No playbook matches.",
    );
  }
  return table(
    COLUMNS,
    rows.map(({ path, versions, newest }) =>
      h(
        "tr",
        {},
        h("td", {}, playbookLink(path)),
        h("td", { class: "num" }, String(versions.length)),
        h(
          "td",
          {},
          h("span", { class: "dim" }, `v${newest.version}, `),
          liveTime(newest.created_at, "ago"),
        ),
      ),
    ),
  );
}
