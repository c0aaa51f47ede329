/** The fields of log lines that mean the same in all of them; others belong to their message. For README.md. */
export interface LogField {
  readonly name: string;
  readonly type: "text" | "number" | "time";
  /** Which lines have it. */
  readonly of: string;
  readonly meaning: string;
}

export const LOG_FIELDS: readonly LogField[] = [
  {
    name: "time",
    type: "time",
    of: "all",
    meaning: "When it was written, RFC 3339 in UTC, milliseconds.",
  },
  {
    name: "level",
    type: "text",
    of: "all",
    meaning: "`debug`, `info`, `warn` (went wrong and healed) or `error` (somebody must act).",
  },
  {
    name: "msg",
    type: "text",
    of: "all",
    meaning: "What happened, constant text; of a task: the line that it wrote.",
  },
  {
    name: "component",
    type: "text",
    of: "all",
    meaning:
      "What wrote it: `server`, `worker`, `orchestrator`, `http`, `rpc`, `bus`, `triggers`, `traces`, …; `task`: what a task wrote.",
  },
  { name: "pool", type: "text", of: "workers", meaning: "The worker's pool." },
  { name: "worker", type: "text", of: "workers", meaning: "The worker's name." },
  { name: "execution_id", type: "text", of: "about an execution, tasks", meaning: "Decimal." },
  { name: "step", type: "text", of: "about a step, tasks", meaning: "Its name." },
  { name: "task", type: "text", of: "tasks", meaning: "Label of the task in its step." },
  { name: "command_id", type: "text", of: "about a command, tasks", meaning: "Decimal." },
  {
    name: "attempt",
    type: "number",
    of: "about a command, tasks",
    meaning: "Which handing out of the command it is, from 1.",
  },
  { name: "index", type: "number", of: "tasks in loops", meaning: "Of the loop's item, from 0." },
  {
    name: "stream",
    type: "text",
    of: "tasks",
    meaning: "`stdout`, `stderr`, or `system`: what the platform says about the task.",
  },
  {
    name: "trace_id",
    type: "text",
    of: "tasks that are traced",
    meaning: "32 hexadecimal digits.",
  },
  {
    name: "span_id",
    type: "text",
    of: "tasks that are traced",
    meaning: "Of this try, or of its step when its worker records no spans.",
  },
  { name: "error", type: "text", of: "about an error", meaning: "Its message." },
  {
    name: "error_name",
    type: "text",
    of: "about an error",
    meaning:
      "Its class; absent when only the message is known. With it `error_code`, `error_stack` and `error_cause`, where there are such.",
  },
];

const BEGIN = "<!-- log fields: made by `bun run docs` -->";
const END = "<!-- end of log fields -->";

/** The document with the current table between its two marks. */
export function withLogFields(document: string): string {
  const [before = "", rest = ""] = document.split(BEGIN);
  const after = rest.split(END)[1] ?? "";
  const rows = LOG_FIELDS.map(
    ({ name, type, of, meaning }) => `| \`${name}\` | ${type} | ${of} | ${meaning} |`,
  );
  const table = ["| field | type | lines | what it is |", "|---|---|---|---|", ...rows].join("\n");
  return `${before}${BEGIN}\n${table}\n${END}${after}`;
}
