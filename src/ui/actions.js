/** What can be done to an execution: cancel, retry, rerun. */
import { post } from "./client.js";
import { ask, checkField, jsonField, notify, textField } from "./dialog.js";
import { bodyWith } from "./json-text.js";
import { h } from "./view.js";

/** Buttons that fit the state of the execution. `onChange` hears of the id to go to. */
export function actionsOf(row, onChange) {
  const isLive = row.completed_at === null;
  const mayRetry = ["FAILED", "CANCELLED"].includes(row.status);
  return [
    isLive && h("button", { class: "danger", onclick: () => askCancel(row, onChange) }, "Cancel…"),
    mayRetry && h("button", { class: "primary", onclick: () => askRetry(row, onChange) }, "Retry…"),
    h("button", { onclick: () => askRerun(row, onChange) }, "Rerun…"),
  ];
}

async function askCancel({ execution_id: id }, onChange) {
  const reason = textField("Reason (optional)");
  const answer = await ask({
    title: "Cancel this execution?",
    text: "Running steps are told to stop, and its sub-playbooks too.",
    fields: [reason],
    confirm: "Cancel it",
    isDangerous: true,
    run: () =>
      post(`/api/executions/${id}/cancel`, { reason: reason.value() || "cancelled on the page" }),
  });
  if (answer !== undefined) {
    notify("Cancel accepted: it ends when its running commands are gone.");
    onChange(id);
  }
}

async function askRetry({ execution_id: id, error_details: error }, onChange) {
  const isNew = checkField("In a new execution; leave this one as it is");
  const reason = textField("Reason (optional)");
  const answer = await ask({
    title: "Retry this execution?",
    text: `It goes on from ${error?.step ? `step ${error.step} and others` : "the steps"} that failed or were cut off. What went well is kept.`,
    fields: [isNew, reason],
    confirm: "Retry",
    run: () =>
      post(`/api/executions/${id}/retry`, {
        new_execution: isNew.value(),
        ...(reason.value() && { reason: reason.value() }),
      }),
  });
  if (answer !== undefined) {
    onChange(answer.execution_id);
  }
}

async function askRerun({ execution_id: id, path, workload }, onChange) {
  const payload = jsonField("Payload, JSON", {
    value: workload ?? {},
    isObject: true,
    rows: 12,
    help: "Merged over the first payload: leave out what stays the same.",
  });
  const answer = await ask({
    title: "Run it again from the start?",
    text: `A new execution of the same version of ${path}.`,
    fields: [payload],
    confirm: "Rerun",
    run: () => post(`/api/executions/${id}/rerun`, bodyWith("payload", payload.text())),
  });
  if (answer !== undefined) {
    onChange(answer.execution_id);
  }
}
