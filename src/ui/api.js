/** Lists the routes of the OpenAPI document, by tag. */
import { h, json, withCode } from "./view.js";

const token = sessionStorage.getItem("token");
const response = await fetch("/openapi/json", {
  headers: token ? { authorization: `Bearer ${token}` } : {},
});
const document_ = await response.json();
const target = document.getElementById("routes");

function bodyOf(operation) {
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  const query =
    operation.parameters?.filter((each) => each.in === "query").map((each) => each.name) ?? [];
  const errors = Object.entries(operation.responses).filter(([status]) => status !== "200");
  if (!schema && query.length === 0 && errors.length === 0) {
    return null;
  }
  return h(
    "details",
    {},
    h("summary", {}, "Details"),
    query.length > 0 && h("p", {}, "Query: ", h("code", {}, query.join(", "))),
    errors.map(([status, { description }]) => h("p", {}, h("code", {}, status), ` ${description}`)),
    schema && json(schema.properties ?? schema),
  );
}

const tags = new Map();
for (const [path, methods] of Object.entries(document_.paths ?? {})) {
  for (const [method, operation] of Object.entries(methods)) {
    const tag = operation.tags?.[0] ?? "Other";
    const route = h(
      "div",
      { class: "route" },
      h("span", { class: "method" }, method.toUpperCase()),
      h("code", {}, path),
      h(
        "div",
        {},
        operation.summary,
        operation.description !== operation.summary &&
          h("div", { class: "dim" }, withCode(operation.description ?? "")),
        bodyOf(operation),
      ),
    );
    tags.set(tag, [...(tags.get(tag) ?? []), route]);
  }
}
target.replaceChildren(
  ...[...tags].map(([tag, routes]) => h("section", { class: "card" }, h("h2", {}, tag), routes)),
);
if (!response.ok) {
  target.replaceChildren(h("p", { class: "error" }, document_.error));
}
