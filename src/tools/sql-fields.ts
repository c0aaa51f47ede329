/** Fields that the tools which run SQL have in common. */
import type { ToolFields, ToolNeed } from "../dsl/tool-description.ts";

export const SQL_NEED: ToolNeed = {
  oneOf: ["command", "query", "commands", "script", "sql"],
  text: "a command or query",
};

export const SQL_FIELDS: ToolFields = {
  command: {
    type: ["text", "list", "map"],
    about: "statements, with `;` between them; a list runs one after another",
  },
  query: { sameAs: "command" },
  commands: { sameAs: "command" },
  script: { sameAs: "command" },
  sql: { sameAs: "command" },
  params: { type: "any", about: "values of the statements' parameters: a list, a map, or one" },
  parameters: { sameAs: "params" },
  schema: { type: "text", about: "schema of names without one" },
  as_objects: { type: "boolean", about: "false: rows are lists of values", default: true },
};

export const SQL_RESULT: Readonly<Record<string, string>> = {
  rows: "of the last statement: maps by column, or lists",
  columns: "their names, in order",
  row_count: "how many rows, or how many were changed",
  affected_rows: "the same, of a statement without rows",
  command_N: "all of that for each statement, from command_0 on",
};
