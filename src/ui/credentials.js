/** Credentials by name and type. Their content never comes to the page. */
import { get } from "./client.js";
import { formatTime } from "./format.js";
import { empty, errorCard, h, table } from "./view.js";

const COLUMNS = [["Name"], ["Type"], ["Tags", "wide"], ["Changed"]];

export function credentialView(main, signal) {
  const body = h("div", {}, h("div", { class: "empty" }, "Loading…"));
  main.replaceChildren(h("h1", {}, "Credentials"), body);
  get("/api/credentials?limit=1000", signal)
    .then((answer) => body.replaceChildren(...viewOf(answer.items)))
    .catch((error) => signal.aborted || body.replaceChildren(errorCard(error)));
}

function viewOf(rows) {
  if (rows.length === 0) {
    return [empty("No credentials yet. Register one with `noetl register credential -f db.json`.")];
  }
  return [
    table(
      COLUMNS,
      rows.map((row) =>
        h(
          "tr",
          {},
          h("td", {}, row.name, row.description && h("div", { class: "dim" }, row.description)),
          h("td", {}, h("code", {}, row.type)),
          h("td", { class: "dim wide" }, (row.tags ?? []).join(", ")),
          h("td", {}, formatTime(row.updated_at)),
        ),
      ),
    ),
    h("p", { class: "dim" }, "Names and types only: their content stays on the server."),
  ];
}
