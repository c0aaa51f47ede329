/** Rows of the kinds of tools. */
import type { JsonObject } from "../../../../src/core/json.ts";
import type { Row } from "./row.ts";
import { rows } from "./row.ts";

const TOOLS = "integration/tools";
const CHILD = "unit/engine/child.test.ts";
const WAIT = "unit/engine/wait.test.ts";
const MEANING = "unit/engine/semantics.test.ts";

const kind = (
  name: string,
  how: string,
  test: string,
  sample: JsonObject = {},
): Omit<Row, "block"> => ({
  fields: "kind",
  fate: "yes",
  how: `\`${name}\`: ${how}`,
  sample: { kind: name, ...sample },
  test,
});
const other = (name: string, how: string): Omit<Row, "block"> => ({
  fields: "kind",
  fate: "refused",
  how: `\`${name}\`: ${how}`,
  sample: { kind: name },
  finds: ["TOOL_KIND_UNSUPPORTED"],
});

const WORKBOOK: JsonObject = {
  workbook: [{ name: "w", tool: { kind: "noop" } }],
  workflow: [{ step: "a", tool: { kind: "workbook", name: "w" } }],
};

export const KIND_ROWS: readonly Row[] = rows("kind", [
  kind(
    "python",
    "a process of its own for each task, forked from a warm interpreter",
    `${TOOLS}/python.test.ts › gives the global \`result\``,
    { code: "result = 1" },
  ),
  kind(
    "javascript",
    "new",
    `${TOOLS}/javascript.test.ts › gives \`result\`, what it returns, or what main returns`,
    { code: "result = 1" },
  ),
  kind(
    "typescript",
    "new: javascript with types",
    `${TOOLS}/javascript.test.ts › strips TypeScript`,
    { code: "result = 1" },
  ),
  kind(
    "http",
    "a status from 400 on is a failure (there: an outcome that nobody looks at)",
    `${TOOLS}/http.test.ts › gives status, headers, and the body under both names`,
    { url: "http://x" },
  ),
  kind(
    "postgres",
    "statements, each in its own transaction; rows of RETURNING too",
    `${TOOLS}/postgres.test.ts › gives rows, columns and count of the last statement, and of each`,
    { query: "SELECT 1" },
  ),
  kind(
    "duckdb",
    "in a process of its own",
    `${TOOLS}/duckdb.test.ts › have the shape of the postgres tool's`,
    { query: "SELECT 1" },
  ),
  kind(
    "ducklake",
    "duckdb with a catalog attached; without one the same as duckdb",
    `${TOOLS}/duckdb.test.ts › a ducklake task without a catalog is a duckdb task`,
    { query: "SELECT 1" },
  ),
  kind(
    "snowflake",
    "by the SQL REST API, key pair login",
    `${TOOLS}/snowflake.test.ts › logs in by key pair, waits for the result and gives rows`,
    { query: "SELECT 1" },
  ),
  kind(
    "shell",
    "exit code other than 0 is a failure",
    `${TOOLS}/shell.test.ts › gives exit code and output, and the lines as logs`,
    { command: "true" },
  ),
  kind(
    "playbook",
    "run by the server, holds no slot; its result is the step's value (there: a status stub)",
    `${CHILD} › starts a child, holds no command, and takes its value`,
    { path: "p" },
  ),
  kind("noop", "`result`, or a status and `message`", `${MEANING} › names in scope`),
  kind(
    "workbook",
    "put in place when the document is read",
    `${MEANING} › a workbook entry takes the step's input key by key`,
    {},
  ),
  kind(
    "wait",
    "new: for a time or a signal, holding nothing but a row",
    `${WAIT} › lasts as long as it says, holds no command, and takes a template`,
    { duration: "5m" },
  ),
  kind(
    "nats",
    "keys, objects, streams",
    `${TOOLS}/nats.test.ts › puts, gets, lists, deletes and purges`,
    { operation: "kv_get", bucket: "b", key: "k" },
  ),
  kind(
    "subscription",
    "polls a stream; source nats only",
    `${TOOLS}/nats.test.ts › polls, and answers for what it took`,
    { operation: "poll", stream: "S" },
  ),
  kind(
    "transfer",
    "rows from http, postgres, duckdb into postgres, duckdb, in chunks",
    `${TOOLS}/transfer.test.ts › cuts into chunks and says how far it is`,
    {
      source: { type: "http", url: "http://x" },
      target: { type: "postgres", table: "t" },
    },
  ),
  kind(
    "artifact",
    "stored values: get, put, list, delete (there: get)",
    `${TOOLS}/artifact.test.ts › lists what an execution has and deletes it`,
    {},
  ),
  {
    fields: "kind ref",
    fate: "yes",
    how: "`result_fetch`: older name of artifact",
    sample: { kind: "result_fetch", ref: "noetl://x" },
    finds: ["LEGACY_FORM"],
  },
  kind(
    "script",
    "inline, file, http, s3 (there: a Kubernetes job)",
    `${TOOLS}/script.test.ts › runs each language; python when none is said`,
    { code: "print(1)" },
  ),
  kind(
    "mcp",
    "JSON-RPC over HTTP",
    `${TOOLS}/mcp.test.ts › calls a tool with arguments, or with the task's input`,
    { endpoint: "http://x" },
  ),
  kind(
    "container",
    "docker, podman, nerdctl on the worker's machine, or a Job of Kubernetes; its result is the step's",
    `${TOOLS}/container.test.ts › gives what result.json holds, with the facts of its run, and the lines as logs`,
    { image: "i" },
  ),
  kind(
    "cuda",
    "new: container, with a `.cu` source or a script, and one GPU",
    `${TOOLS}/cuda.test.ts › a script runs on the GPU that it was given`,
    { source: "int main() {}" },
  ),
  kind(
    "ssh",
    "new: the system's client",
    `${TOOLS}/ssh.test.ts › gives exit code and output, and the lines as logs`,
    { command: "true" },
  ),
  kind(
    "sftp",
    "the system's client",
    `${TOOLS}/sftp.test.ts › puts and gets text, bytes and JSON`,
    { operation: "list", path: "/" },
  ),
  kind(
    "secrets",
    "a credential or keychain entry for later tasks, masked everywhere else",
    "integration/worker/secrets-tool.test.ts › gives a credential whole, some of its fields, or one",
    { credential: "c" },
  ),
  {
    fields: "kind",
    fate: "refused",
    how: "a kind that nobody knows",
    sample: { kind: "fortran" },
    finds: ["TOOL_KIND_UNKNOWN"],
  },
  {
    fields: "kind",
    fate: "refused",
    how: "`workbook` without such an entry",
    sample: { kind: "workbook", name: "x" },
    finds: ["WORKBOOK_UNKNOWN"],
  },
  other("agent", "call a playbook, an MCP server or an HTTP service"),
  other("gateway", "use http"),
  other("gcs", "use http on Google's API, or duckdb for s3:// files"),
  other("iterator", "write `loop` on the step"),
  other("playbooks", "use playbook, in a loop"),
  other("provider", "call its API by http"),
  other("rhai", "use javascript"),
  other("snowflake_transfer", "snowflake, then postgres or duckdb"),
  other("task_sequence", "write the tasks as a list"),
  other("wasm", "use javascript or python"),
]).map(special);

/** A workbook entry is shown by a whole document. */
function special(row: Row): Row {
  const { kind: name } = row.sample;
  return name === "workbook" && row.fate === "yes"
    ? { ...row, block: "document", fields: "workbook workflow", sample: WORKBOOK }
    : row;
}
