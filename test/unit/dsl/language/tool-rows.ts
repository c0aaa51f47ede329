/** Rows of each tool's own fields. */
import type { Json, JsonObject } from "../../../../src/core/json.ts";
import type { ValueType } from "../../../../src/dsl/tool-description.ts";
import { findField } from "../../../../src/dsl/tool-description.ts";
import { KNOWN_TOOL_KINDS } from "../../../../src/tools/registry.ts";
import type { Row } from "./row.ts";
import { NEEDED, rows } from "./row.ts";

const TOOLS = "integration/tools";
const CHILD = "unit/engine/child.test.ts";
const WAIT = "unit/engine/wait.test.ts";
const MEANING = "unit/engine/semantics.test.ts";

const CONTAINER = `${TOOLS}/container.test.ts`;
const CUDA = `${TOOLS}/cuda.test.ts`;
const CODE = "code script";
const ENVIRONMENT = "env cwd";
const SQL = "command query commands script sql";
const NATS_LOGIN =
  "connection url server servers user username password token creds tls_ca credential";
const SSH =
  "host port user private_key passphrase password known_hosts host_key strict_host_key_checking credential";

/** One row of a tool's own fields; the sample is made of their names. */
function own(
  fields: string,
  how: string,
  test: string,
  sample: JsonObject = {},
): Omit<Row, "block"> {
  const texts = Object.fromEntries(fields.split(" ").map((name) => [name, "x"]));
  return { fields, fate: "yes", how, sample: { ...texts, ...sample }, test };
}

function idle(fields: string, how: string): Omit<Row, "block"> {
  const sample = Object.fromEntries(fields.split(" ").map((name) => [name, "x"]));
  return { fields, fate: "no effect", how, sample, finds: ["FIELD_IGNORED"] };
}

function lacks(fields: string, how: string): Omit<Row, "block"> {
  const sample = Object.fromEntries(fields.split(" ").map((name) => [name, null]));
  return { fields, fate: "refused", how, sample, finds: ["TOOL_FIELD_MISSING"] };
}

/** Values of the types that the tool's description names, in place of texts that do not fit. */
function fitTypes(row: Row): Row {
  const name = row.block.replace(/^tool /, "");
  const { fields = {} } = KNOWN_TOOL_KINDS.get(name) ?? {};
  const needed: JsonObject = NEEDED[name] ?? {};
  const fit = ([key, value]: readonly [string, Json]): readonly [string, Json] => {
    const field = findField(fields, key);
    return value === "x" && field !== undefined && row.fate !== "refused"
      ? [key, needed[key] ?? field.choices?.[0] ?? VALUES[[field.type].flat()[0] ?? "any"]]
      : [key, value];
  };
  return { ...row, sample: Object.fromEntries(Object.entries(row.sample).map(fit)) };
}

const VALUES: Readonly<Record<ValueType, Json>> = {
  any: "x",
  boolean: true,
  duration: "1m",
  integer: 1,
  list: ["x"],
  map: { x: "y" },
  number: 1,
  scalar: "x",
  text: "x",
  time: "2026-01-31",
};

const SCRIPT = `${TOOLS}/javascript.test.ts › runs script files, and with env and cwd of its own`;

const OWN_ROWS: readonly Row[] = [
  ...rows("tool python", [
    own(
      CODE,
      "text, or where it is: `{uri, source: {type: inline, file, http, s3}}`; gcs is read as S3",
      `${TOOLS}/python.test.ts › runs a script file`,
    ),
    own(
      "libs",
      "modules by name; not installed",
      `${TOOLS}/python.test.ts › imports libs under their names`,
    ),
    own(
      `${ENVIRONMENT} memory_mb`,
      "of its process; limit",
      `${TOOLS}/python.test.ts › runs under __main__, with env and cwd of the task`,
    ),
    idle("python", "the worker's interpreter runs all"),
    lacks("code", "neither code nor script"),
  ]),
  ...["javascript", "typescript"].flatMap((name) =>
    rows(`tool ${name}`, [
      own(`${CODE} libs ${ENVIRONMENT}`, "as of python", SCRIPT),
      lacks("code", "neither code nor script"),
    ]),
  ),
  ...rows("tool http", [
    own(
      "url method headers params",
      "nulls dropped, lists repeated",
      `${TOOLS}/http.test.ts › drops null parameters and repeats lists`,
    ),
    own(
      "endpoint",
      "older name of url",
      "unit/tools/registry.test.ts › accepts the older names of fields",
    ),
    own(
      "json form body",
      "json before form before body",
      `${TOOLS}/http.test.ts › takes a body from json, form, body, data or payload`,
    ),
    own(
      "data payload",
      "older names of body (there: ignored)",
      `${TOOLS}/http.test.ts › takes a body from json, form, body, data or payload`,
    ),
    own(
      "files body_base64",
      "new: uploads",
      `${TOOLS}/http-pages.test.ts › sends files and fields as a form`,
    ),
    own(
      "paginate",
      "new: page, offset, cursor, link",
      `${TOOLS}/http-pages.test.ts › stops at the author's limits and says that there was more`,
      { paginate: { mode: "link" } },
    ),
    own("proxy", "new", `${TOOLS}/http-pages.test.ts › asks through a proxy`),
    own(
      "follow_redirects",
      "default true",
      `${TOOLS}/http.test.ts › follows redirects unless told not to`,
    ),
    own(
      "response_type",
      "json, text, binary; new: result (stored as it comes)",
      `${TOOLS}/http.test.ts › parses JSON, keeps text, encodes bytes`,
      { response_type: "text" },
    ),
    own(
      "verify_ssl",
      "false: any certificate",
      `${TOOLS}/http.test.ts › accepts a certificate that nobody vouches for only if verify_ssl is false`,
    ),
    own(
      "credential",
      "as auth",
      `${TOOLS}/http.test.ts › uses credentials: bearer, basic and api_key, or an explicit map`,
    ),
    lacks("url", "neither url nor endpoint"),
  ]),
  ...rows("tool postgres", [
    own(
      SQL,
      "text with several statements, or a list",
      `${TOOLS}/postgres.test.ts › takes its text from query, command, commands, sql or script`,
    ),
    own(
      "params parameters",
      "fit the type that the statement wants",
      `${TOOLS}/postgres.test.ts › fit the type that the statement wants`,
    ),
    own("schema", "search_path", `${TOOLS}/postgres.test.ts › searches the schema of the task`),
    own(
      "as_objects",
      "false: rows are lists",
      `${TOOLS}/postgres.test.ts › gives rows as lists if as_objects is false`,
      { as_objects: false },
    ),
    own(
      "connection connection_string host port database user password credential",
      "where and who; `auth` names a credential",
      `${TOOLS}/postgres.test.ts › takes a credential, its plain names, a connection string or fields of its own`,
    ),
    lacks("query", "no statement"),
  ]),
  ...["duckdb", "ducklake"].flatMap((name) =>
    rows(`tool ${name}`, [
      own(
        SQL,
        "as of postgres",
        `${TOOLS}/duckdb.test.ts › come from any of the fields, lists of commands too`,
      ),
      own(
        "params parameters",
        "by position or name",
        `${TOOLS}/duckdb.test.ts › parameters go by position or by name`,
      ),
      own(
        "schema",
        "made the current one",
        `${TOOLS}/duckdb.test.ts › a schema is made the current one; relative paths in SQL lead to the folder too`,
      ),
      own(
        "as_objects",
        "false: rows are lists",
        `${TOOLS}/duckdb.test.ts › may be lists, and keep columns of the same name apart`,
      ),
      own(
        "database db_path",
        "a file; none: in memory",
        `${TOOLS}/duckdb.test.ts › files stay, relative ones in the worker's folder`,
      ),
      own(
        "credentials gcs_credential",
        "attached or made secrets, where the extension is there; a clear error where not",
        `${TOOLS}/duckdb.test.ts › an extension that is not there is named, with what to do`,
      ),
      ...(name === "ducklake"
        ? [
            own(
              "catalog_name catalog_connection data_path",
              "the lake (there: ignored)",
              `${TOOLS}/duckdb.test.ts › an extension that is not there is named, with what to do`,
            ),
          ]
        : []),
      lacks("query", "no statement"),
    ]),
  ),
  ...rows("tool snowflake", [
    own(
      `${SQL} command_b64`,
      "query too (there: not)",
      `${TOOLS}/snowflake.test.ts › runs lists, several statements in one text, and base64`,
    ),
    own(
      "params parameters bindings",
      "by their types",
      `${TOOLS}/snowflake.test.ts › binds parameters by their types`,
    ),
    own(
      "account user private_key private_key_passphrase token token_type database schema warehouse role connection url endpoint host credential",
      "where and who",
      `${TOOLS}/snowflake.test.ts › takes an encrypted key, and one on a single line`,
    ),
    {
      ...own("password", "", ""),
      fate: "differently",
      how: "the SQL REST API takes none: the task fails and says so",
      test: `${TOOLS}/snowflake.test.ts › says what a credential lacks, and that a password will not do`,
    },
    idle("as_objects", "rows are maps"),
    lacks("query", "no statement"),
  ]),
  ...rows("tool shell", [
    own(
      "command cmds script",
      "text or list; a list stops at the first that fails",
      `${TOOLS}/shell.test.ts › runs cmds in order and stops at the first that fails`,
    ),
    {
      fields: "command",
      fate: "differently",
      how: "braces of Go templates and awk stay as they are, with a warning; so do those of ssh and container",
      sample: { command: "docker ps --format '{{.Names}} {{json .}}'" },
      finds: ["TEMPLATE_FOREIGN"],
      test: "unit/dsl/foreign-braces.test.ts › braces of other languages stay",
    },
    own("shell cwd env", "default sh", `${TOOLS}/shell.test.ts › has input, env, cwd and shell`),
    idle("capture", "output is always kept"),
    lacks("command", "nothing to run"),
  ]),
  ...rows("tool container", [
    own(
      "image command args",
      "`command` in place of the entry point; new: texts, read as a shell does",
      `${CONTAINER} › gives what result.json holds, with the facts of its run, and the lines as logs`,
    ),
    own(
      "env files workdir",
      "`env`: the list there, or a map; `value_from` is a credential, on Kubernetes the cluster's Secret; new: files",
      `${CONTAINER} › has its input as a file and as variables, its files, and the variables of its own`,
      { workdir: "/work" },
    ),
    own(
      "resources user read_only capabilities no_new_privileges",
      "requests and limits, or new: cpu, memory, shm_size, pids; new: isolation",
      `${CONTAINER} › its limits and its isolation are those of the fields`,
      { resources: {}, user: "1000", capabilities: ["CHOWN"] },
    ),
    own(
      "gpu gpus",
      "new: leased by the server before the task starts",
      `${CUDA} › a script runs on the GPU that it was given`,
      { gpu: 1, gpus: null },
    ),
    own(
      "timeouts",
      "new: queue, pull, run, stop_grace",
      `${CONTAINER} › timeouts.run ends the run alone, and what it has left is kept`,
      { timeouts: { run: "1h" } },
    ),
    own(
      "pull_policy registry",
      "new",
      `${CONTAINER} › an image that is not there is a failure of the pull`,
      { pull_policy: "never", registry: "hub" },
    ),
    own(
      "network mounts runtime",
      "new",
      `${CONTAINER} › what a worker leaves, the next one finds: nothing runs twice, the log goes on`,
      { network: "none", mounts: ["/data:/data:ro"], runtime: "podman" },
    ),
    own(
      "namespace service_account node_selector tolerations runtime_class backoff_limit restart_policy",
      "of Kubernetes; elsewhere without effect, as the log says",
      `${CONTAINER} › fields that mean nothing here are named in the log, needs that cannot be met refused`,
      { backoff_limit: 0, restart_policy: "Never", tolerations: [], node_selector: {} },
    ),
    own(
      "volumes volume_mounts",
      "`empty_dir` everywhere, the others on Kubernetes",
      `${CONTAINER} › scratch space of the public project's spelling is there, and can be written to`,
      { volumes: [], volume_mounts: [] },
    ),
    {
      fields: "privileged",
      fate: "refused",
      how: "it would give the machine away",
      sample: { privileged: true },
      finds: ["TOOL_INVALID"],
    },
    lacks("image", "no image"),
  ]),
  ...rows("tool cuda", [
    own(
      "source flags args",
      "new: text of a .cu file, compiled by nvcc in the container",
      `${CUDA} › a source is compiled and run with its arguments`,
      { source: "int main() {}" },
    ),
    own(
      "script language image",
      "new: as it is; python needs an image",
      `${CUDA} › a script runs on the GPU that it was given`,
      { source: null, script: "nvidia-smi", language: "shell", image: "i" },
    ),
    own(
      "env files workdir mounts network user resources gpu gpus timeouts pull_policy registry runtime read_only capabilities no_new_privileges namespace service_account node_selector tolerations runtime_class backoff_limit restart_policy volumes volume_mounts",
      "as of container",
      `${CUDA} › a script runs on the GPU that it was given`,
      {
        ...{ workdir: "/work", user: "1", gpus: null, mounts: [], network: "none" },
        ...{ timeouts: {}, pull_policy: "never", runtime: "docker", capabilities: [] },
        ...{ backoff_limit: 0, restart_policy: "Never", tolerations: [], node_selector: {} },
        ...{ volumes: [], volume_mounts: [], resources: {}, gpu: 1, namespace: "noetl" },
      },
    ),
    {
      fields: "privileged",
      fate: "refused",
      how: "as of container",
      sample: { privileged: true },
      finds: ["TOOL_INVALID"],
    },
    lacks("source", "neither source nor script"),
  ]),
  ...rows("tool playbook", [
    own(
      "path version",
      "catalog path; version: latest (there: ignored)",
      `${CHILD} › starts a child, holds no command, and takes its value`,
    ),
    own(
      "payload workload",
      "used if there is no `input`",
      `${MEANING} › get input, payload or workload, and give their result`,
      { payload: {}, workload: {} },
    ),
    own(
      "return_step result_step",
      "the step whose value is wanted; default the child's result",
      `${CHILD} › starts a child, holds no command, and takes its value`,
    ),
    own(
      "wait",
      "new: false = fire and forget",
      `${CHILD} › that is not waited for gives its id at once`,
      { wait: false },
    ),
    own(
      "execution_pool",
      "pool of the child",
      `${CHILD} › starts a child, holds no command, and takes its value`,
    ),
    idle(
      "return_result poll_interval parent_execution_id",
      "the result always comes, by the server, and the parent is always known",
    ),
    {
      fields: "path catalog_id",
      fate: "refused",
      how: "a catalog_id is one of a single server: name the path",
      sample: { path: null, catalog_id: 5 },
      finds: ["FIELD_UNKNOWN", "TOOL_FIELD_MISSING"],
    },
  ]),
  ...rows("tool wait", [
    own(
      "duration",
      "new",
      `${WAIT} › lasts as long as it says, holds no command, and takes a template`,
      { duration: "5m" },
    ),
    own(
      "until",
      "new: RFC 3339 or seconds since 1970",
      `${WAIT} › takes points in time as texts and as seconds`,
      { until: 0 },
    ),
    own(
      "signal deadline on_timeout",
      "new: a name; duration or time; fail or continue",
      `${WAIT} › fails at its deadline, or goes on without a payload`,
      { deadline: "1h", on_timeout: "continue" },
    ),
    {
      fields: "duration signal",
      fate: "refused",
      how: "more than one",
      sample: { duration: 1, signal: "x" },
      finds: ["WAIT_INVALID"],
    },
    {
      fields: "deadline",
      fate: "refused",
      how: "none of duration, until, signal",
      sample: { deadline: 1 },
      finds: ["TOOL_FIELD_MISSING"],
    },
    {
      fields: "until",
      fate: "refused",
      how: "no time",
      sample: { until: "soon" },
      finds: ["TIME_INVALID"],
    },
  ]),
  ...rows("tool noop", [own("message result", "what it gives", `${MEANING} › names in scope`)]),
  ...rows("tool nats", [
    own(
      "operation bucket key value ttl create revision pattern history",
      "kv_get, kv_put, kv_delete, kv_keys, kv_purge",
      `${TOOLS}/nats.test.ts › a revision guards against a change in between`,
    ),
    own(
      "name object object_name data payload message description encoding",
      "object_get, object_put, object_delete, object_list, object_info",
      `${TOOLS}/nats.test.ts › puts, describes, lists, gets and deletes`,
    ),
    own(
      "subject stream headers message_id msg_id seq last",
      "js_publish, js_get_msg, js_stream_info",
      `${TOOLS}/nats.test.ts › publishes once per msg_id, gets messages and describes the stream`,
    ),
    own(
      "consumer durable batch timeout_ms deliver ack ack_id ack_ids ack_wait nack_delay_ms delay max_deliver",
      "js_consume; new: js_ack",
      `${TOOLS}/nats.test.ts › messages taken with ack explicit come back when they are refused`,
    ),
    own(
      NATS_LOGIN,
      "where and who; `auth` names a credential",
      `${TOOLS}/nats.test.ts › a wrong login is an auth failure`,
    ),
    lacks("operation", "no operation"),
  ]),
  ...rows("tool subscription", [
    own(
      "source operation stream consumer batch timeout_ms ack ack_id ack_ids nack_delay_ms",
      "poll, ack, nack, nak, term on nats; pubsub and kafka are refused",
      `${TOOLS}/nats.test.ts › says what it does not do`,
      { ack: "explicit" },
    ),
    own(
      `subject durable deliver seq ack_wait delay max_deliver encoding ${NATS_LOGIN}`,
      "as of nats",
      `${TOOLS}/nats.test.ts › polls, and answers for what it took`,
    ),
  ]),
  ...rows("tool transfer", [
    own(
      "source target mapping",
      "`type` (or tool, kind), query, url, data_path, table, …",
      `${TOOLS}/transfer.test.ts › maps names, coerces numbers, and keeps every character`,
    ),
    own(
      "mode key keys",
      "append, replace, upsert",
      `${TOOLS}/transfer.test.ts › upsert changes the columns that came, the last row of a key counts`,
    ),
    own(
      "chunk_size",
      "rows at a time",
      `${TOOLS}/transfer.test.ts › cuts into chunks and says how far it is`,
    ),
    lacks("source", "no source"),
  ]),
  ...rows("tool artifact", [
    own(
      "action result_ref ref uri urn",
      "get by reference",
      `${TOOLS}/artifact.test.ts › puts a value and gets it by reference, URI and name, whatever the field is called`,
    ),
    own(
      "name execution_id data content_type encoding file scope ttl",
      "new: put, list, delete; files",
      `${TOOLS}/artifact.test.ts › puts a file and gets one, as a whole or not at all`,
    ),
    idle("prefer", "there is one way"),
  ]),
  ...rows("tool script", [
    own(
      "code script source uri language shell",
      "where the code is, and in which language",
      `${TOOLS}/script.test.ts › the extension says the language, the first line the shell`,
      { language: "python" },
    ),
    own(
      `libs ${ENVIRONMENT} memory_mb credential`,
      "as of python; who reads the source",
      `${TOOLS}/script.test.ts › loads with a credential, for this tool and for python`,
    ),
    {
      fields: "job",
      fate: "refused",
      how: "of a Kubernetes job: the script runs in a worker, which `pool` chooses",
      sample: { job: { image: "python" } },
      finds: ["TOOL_INVALID"],
      test: `${TOOLS}/script.test.ts › says what is missing and what is not supported`,
    },
    lacks("code", "no code"),
  ]),
  ...rows("tool mcp", [
    own(
      "endpoint url server_url base_url server method tool tool_name arguments params request_id headers protocol_version credential",
      "tools/call with a tool, else tools/list, or any method",
      `${TOOLS}/mcp.test.ts › calls a tool with arguments, or with the task's input`,
    ),
    lacks("endpoint", "no address"),
  ]),
  ...rows("tool ssh", [
    own(
      "command cmds stdin",
      "new",
      `${TOOLS}/ssh.test.ts › takes a list, which stops at the first that fails, and input`,
    ),
    own(
      SSH,
      "new: where and who",
      `${TOOLS}/ssh.test.ts › a key with a passphrase, on one line, in known_hosts of one's own`,
    ),
    lacks("command", "nothing to run"),
  ]),
  ...rows("tool sftp", [
    own(
      "operation path remote_path local_path to content data encoding atomic parents",
      "get, put, list, mkdir, rename, delete …",
      `${TOOLS}/sftp.test.ts › lists, makes folders, renames and deletes`,
    ),
    own(
      SSH,
      "as of ssh",
      `${TOOLS}/sftp.test.ts › a host that is away, or that knows no such key, is told apart`,
    ),
    lacks("operation", "no operation"),
  ]),
  ...rows("tool secrets", [
    own(
      "credential secret keychain field fields key",
      "what of which",
      "integration/worker/secrets-tool.test.ts › gives a credential whole, some of its fields, or one",
    ),
    {
      fields: "provider",
      fate: "refused",
      how: "providers are read by the server: name a keychain entry",
      sample: { provider: "vault" },
      finds: ["TOOL_INVALID"],
      test: "integration/worker/secrets-tool.test.ts › says what is missing, and why a provider is not read directly",
    },
    lacks("credential", "nothing named"),
  ]),
];

export const TOOL_ROWS: readonly Row[] = OWN_ROWS.map(fitTypes);
