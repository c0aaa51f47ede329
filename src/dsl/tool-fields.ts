/** What each kind of tool must have and may have, as far as the parser knows. */

interface ToolFields {
  /** One of these must be there. Empty: nothing is needed. */
  readonly needs: readonly string[];
  /** The same in words: `<kind> needs …`. */
  readonly needsText: string;
  /** Other fields of its own. Absent: the kind takes any. */
  readonly takes?: readonly string[];
  /** Fields that hold program text, in which braces are no templates. */
  readonly code?: readonly string[];
  /** Fields that hold commands for a shell, where braces may be those of another language. */
  readonly commands?: readonly string[];
  /** Known, and without effect. */
  readonly ignores?: readonly string[];
}

const CODE_TAKES = ["code", "script", "libs", "env", "cwd"];
const CODE_FIELDS: ToolFields = {
  needs: ["code", "script"],
  needsText: "code or a script",
  takes: CODE_TAKES,
  code: ["code", "libs"],
};
const SQL_NEEDS = ["command", "query", "commands", "script", "sql"];
const SQL_FIELDS = [...SQL_NEEDS, "params", "parameters", "schema", "as_objects"];
const DUCKDB_TAKES = [...SQL_FIELDS, "database", "db_path", "credentials", "gcs_credential"];
const DUCKDB_FIELDS: ToolFields = {
  needs: SQL_NEEDS,
  needsText: "a command or query",
  takes: DUCKDB_TAKES,
};

/** Of connections; under other names too, as a credential has them. */
const NATS_FIELDS = [
  "connection",
  "url",
  "server",
  "servers",
  "user",
  "username",
  "password",
  "token",
  "creds",
  "tls_ca",
  "credential",
];
const STREAM_FIELDS = [
  "operation",
  "stream",
  "subject",
  "consumer",
  "durable",
  "batch",
  "timeout_ms",
  "deliver",
  "seq",
  "ack",
  "ack_id",
  "ack_ids",
  "ack_wait",
  "nack_delay_ms",
  "delay",
  "max_deliver",
  "encoding",
];

const SSH_FIELDS = [
  "host",
  "port",
  "user",
  "private_key",
  "passphrase",
  "password",
  "known_hosts",
  "host_key",
  "strict_host_key_checking",
  "credential",
];

const TOOL_FIELDS: ReadonlyMap<string, ToolFields> = new Map<string, ToolFields>([
  ["python", { ...CODE_FIELDS, takes: [...CODE_TAKES, "python", "memory_mb"] }],
  ["javascript", CODE_FIELDS],
  ["typescript", CODE_FIELDS],
  [
    "postgres",
    {
      needs: SQL_NEEDS,
      needsText: "a command or query",
      takes: [
        ...SQL_FIELDS,
        "connection",
        "connection_string",
        "host",
        "port",
        "database",
        "user",
        "password",
        "pool",
        "credential",
      ],
    },
  ],
  ["duckdb", DUCKDB_FIELDS],
  [
    "ducklake",
    {
      ...DUCKDB_FIELDS,
      takes: [...DUCKDB_TAKES, "catalog_name", "catalog_connection", "data_path"],
    },
  ],
  [
    "transfer",
    {
      needs: ["source"],
      needsText: "a source",
      takes: ["source", "target", "mode", "chunk_size", "mapping", "key", "keys"],
    },
  ],
  [
    "snowflake",
    {
      needs: [...SQL_NEEDS, "command_b64"],
      needsText: "a command or query",
      takes: [
        ...SQL_FIELDS,
        "command_b64",
        "bindings",
        "connection",
        "account",
        "user",
        "password",
        "private_key",
        "private_key_passphrase",
        "token",
        "token_type",
        "url",
        "endpoint",
        "host",
        "database",
        "warehouse",
        "role",
        "credential",
      ],
    },
  ],
  [
    "http",
    {
      needs: ["url", "endpoint"],
      needsText: "a url or endpoint",
      takes: [
        "url",
        "endpoint",
        "method",
        "headers",
        "params",
        "json",
        "form",
        "body",
        "data",
        "payload",
        "body_base64",
        "files",
        "paginate",
        "proxy",
        "follow_redirects",
        "response_type",
        "verify_ssl",
        "credential",
      ],
    },
  ],
  [
    "playbook",
    {
      needs: ["path"],
      needsText: "a path; a catalog_id is one of a single server",
      takes: [
        "path",
        "version",
        "payload",
        "workload",
        "return_step",
        "result_step",
        "wait",
        "execution_pool",
      ],
      ignores: ["return_result", "poll_interval", "parent_execution_id"],
    },
  ],
  [
    "wait",
    {
      needs: ["duration", "until", "signal"],
      needsText: "a duration, a time (until) or a signal",
      takes: ["duration", "until", "signal", "deadline", "on_timeout"],
    },
  ],
  [
    "shell",
    {
      needs: ["command", "cmds", "script"],
      needsText: "a command or cmds",
      takes: ["command", "cmds", "script", "shell", "cwd", "env"],
      commands: ["command", "cmds", "script"],
      ignores: ["capture"],
    },
  ],
  [
    "artifact",
    {
      needs: [],
      needsText: "",
      takes: [
        "action",
        "content_type",
        "data",
        "encoding",
        "execution_id",
        "file",
        "name",
        "ref",
        "result_ref",
        "scope",
        "ttl",
        "uri",
        "urn",
      ],
      ignores: ["prefer"],
    },
  ],
  ["noop", { needs: [], needsText: "", takes: ["message", "result"] }],
  [
    "script",
    {
      needs: ["script", "code", "source"],
      needsText: "a script",
      takes: [
        ...CODE_TAKES,
        "source",
        "uri",
        "language",
        "shell",
        "memory_mb",
        "job",
        "credential",
      ],
      code: ["code", "script", "libs"],
    },
  ],
  [
    "mcp",
    {
      needs: ["endpoint", "url", "server_url", "base_url", "server"],
      needsText: "an endpoint",
      takes: [
        "endpoint",
        "url",
        "server_url",
        "base_url",
        "server",
        "method",
        "tool",
        "tool_name",
        "arguments",
        "params",
        "headers",
        "request_id",
        "protocol_version",
        "credential",
      ],
    },
  ],
  [
    "ssh",
    {
      needs: ["command", "cmds"],
      needsText: "a command",
      takes: ["command", "cmds", "stdin", ...SSH_FIELDS],
      commands: ["command", "cmds"],
    },
  ],
  [
    "sftp",
    {
      needs: ["operation"],
      needsText: "an operation",
      takes: [
        "operation",
        "path",
        "remote_path",
        "local_path",
        "to",
        "content",
        "data",
        "encoding",
        "atomic",
        "parents",
        ...SSH_FIELDS,
      ],
    },
  ],
  [
    "secrets",
    {
      needs: ["auth", "credential", "secret", "keychain"],
      needsText: "auth, the name of a credential or keychain entry",
      takes: ["credential", "secret", "keychain", "field", "fields", "key", "provider"],
    },
  ],
  [
    "nats",
    {
      needs: ["operation"],
      needsText: "an operation",
      takes: [
        ...NATS_FIELDS,
        ...STREAM_FIELDS,
        "bucket",
        "key",
        "value",
        "ttl",
        "create",
        "revision",
        "pattern",
        "name",
        "object",
        "object_name",
        "data",
        "payload",
        "message",
        "description",
        "headers",
        "history",
        "last",
        "message_id",
        "msg_id",
      ],
    },
  ],
  [
    "subscription",
    {
      needs: [],
      needsText: "",
      takes: [...NATS_FIELDS, ...STREAM_FIELDS, "source"],
    },
  ],
  ["container", { needs: ["image"], needsText: "an image", commands: ["command", "args"] }],
]);

const UNKNOWN_KIND: ToolFields = { needs: [], needsText: "" };

export function toolFields(kind: string): ToolFields {
  return TOOL_FIELDS.get(kind) ?? UNKNOWN_KIND;
}
