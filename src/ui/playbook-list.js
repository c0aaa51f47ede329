/** Playbooks of the catalog: the newest version of each. */
import { get } from "./client.js";
import { plural } from "./format.js";
import { createPager } from "./pager.js";
import { empty, errorCard, h, liveTime, playbookLink, table } from "./view.js";

const PAGE = 100;
const COLUMNS = [["Playbook"], ["Version", "num"], ["Registered"]];

export function playbooksView(main, signal) {
  const body = h("div", {}, h("div", { class: "empty" }, "Loading…"));
  const count = h("span", { class: "dim" });
  let path = "";
  const refresh = async () => {
    const asked = path;
    const { entries, total } = await get(listPath({ path, offset: pager.offset() }), signal);
    if (asked !== path) {
      return;
    }
    pager.draw(entries.length);
    count.textContent = plural(total, "playbook");
    body.replaceChildren(listOf(entries, path === ""), pager.element);
  };
  const fail = (error) => signal.aborted || body.replaceChildren(errorCard(error));
  const pager = createPager(PAGE, () => refresh().catch(fail));
  main.replaceChildren(
    h(
      "div",
      { class: "row" },
      h("h1", {}, "Playbooks"),
      h("span", { class: "grow" }, count),
      h("input", {
        type: "search",
        placeholder: "Filter by path",
        "aria-label": "Filter by path",
        "data-find": true,
        oninput: (event) => {
          path = event.target.value;
          pager.reset();
          refresh().catch(fail);
        },
      }),
    ),
    body,
  );
  refresh().catch(fail);
}

function listPath({ path, offset }) {
  const query = new URLSearchParams({ latest: true, include_content: false, limit: PAGE, offset });
  if (path !== "") {
    query.set("path", path);
  }
  return `/api/catalog/list/playbook?${query}`;
}

/** Numbers of all versions of a path, the newest first. */
export async function readVersions(path, signal) {
  const query = new URLSearchParams({ path, include_content: false, limit: 1000 });
  const { entries } = await get(`/api/catalog/list/playbook?${query}`, signal);
  return versionsOf(entries, path);
}

/** The filter of the API finds parts of paths. Pure. */
export function versionsOf(entries, path) {
  return entries
    .filter((entry) => entry.path === path)
    .map(({ version }) => version)
    .sort((left, right) => right - left);
}

function listOf(rows, isWhole) {
  if (rows.length === 0) {
    return empty(
      isWhole
        ? "No playbooks yet. Register one with `noetl register FILE.yaml`."
        : "No playbook matches.",
    );
  }
  return table(
    COLUMNS,
    rows.map(({ path, version, created_at: at }) =>
      h(
        "tr",
        {},
        h("td", {}, playbookLink(path)),
        h("td", { class: "num" }, String(version)),
        h("td", {}, liveTime(at, "ago")),
      ),
    ),
  );
}
