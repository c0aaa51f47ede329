/** Starts a playbook: a form made from its `ui_schema`, or its workload as JSON. */
import { post } from "./client.js";
import { checkField, jsonField, labelled, textField } from "./dialog.js";
import { bodyWith } from "./json-text.js";
import { fieldsOf, fieldText, payloadOf } from "./run-fields.js";
import { errorCard, h } from "./view.js";

/** `schema` may be undefined; `workload` are the defaults. */
export function runForm({ path, version, schema, workload }, onStarted) {
  const fields = fieldsOf(schema);
  const inputs = fields.map((field) => ({ field, input: inputOf(field) }));
  const raw = jsonField("Payload, JSON", {
    value: workload ?? {},
    isObject: true,
    rows: 10,
    help: "Merged over the playbook's own workload: leave out what stays the same.",
  });
  let isRaw = fields.length === 0;
  const problem = h("div");
  const body = h("div", { class: "fields" });
  const mode = h("button", { type: "button", class: "small" });
  const show = () => {
    body.replaceChildren(...(isRaw ? [raw.element] : inputs.map(({ input }) => input.element)));
    mode.textContent = isRaw ? "As a form" : "As JSON";
  };
  mode.addEventListener("click", () => {
    isRaw = !isRaw;
    show();
  });
  show();
  const start = h("button", { type: "submit", class: "primary" }, "Run");
  const read = () => {
    if (isRaw) {
      return raw.isBad() ? {} : { text: raw.text() };
    }
    const answers = inputs.map(({ field, input }) => ({ field, value: input.value() }));
    return payloadOf(answers);
  };
  return h(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        const { text, error } = read();
        problem.replaceChildren(...(error ? [h("div", { class: "error" }, error)] : []));
        if (text === undefined) {
          return;
        }
        start.disabled = true;
        try {
          const started = await post("/api/execute", bodyWith("payload", text, { path, version }));
          onStarted(started.execution_id);
        } catch (failure) {
          problem.replaceChildren(errorCard(failure));
        } finally {
          start.disabled = false;
        }
      },
    },
    body,
    problem,
    h("div", { class: "row" }, start, fields.length > 0 && mode),
  );
}

function inputOf(field) {
  const { label, help, type, options, isRequired, initial } = field;
  const title = isRequired ? `${label} *` : label;
  if (type === "boolean") {
    return checkField(title, initial === true);
  }
  if (options.length > 0) {
    const select = h(
      "select",
      { name: field.name },
      options.map((option) =>
        h("option", { value: fieldText(option), selected: option === initial }, fieldText(option)),
      ),
    );
    return { element: labelled(title, select, help), value: () => select.value };
  }
  if (type === "json" || type === "text") {
    const area = h("textarea", {
      rows: 4,
      spellcheck: "false",
      class: type === "json" ? "mono" : "",
    });
    area.value = fieldText(initial);
    return { element: labelled(title, area, help), value: () => area.value };
  }
  return textField(title, { value: fieldText(initial), help, isSecret: field.isSecret });
}
