/**
 * Which test shows what of each kind of tool: `path below test/ › title`, as in src/dsl/README.md. The
 * table in test/README.md is made from it; test/unit/tools/matrix.test.ts holds both to what is there.
 */

export const ASPECTS = ["success", "bad input", "failure", "timeout", "cancel"] as const;
export type Aspect = (typeof ASPECTS)[number];

/** Where there is nothing to test, a reason in parentheses. */
export type Evidence = Readonly<Record<Aspect, string>>;

const IN = "integration/tools";
const ENGINE = "unit/engine";

/** Tests that run for each kind, and themselves say that none is left out. */
const FOR_EACH = {
  "bad input": "unit/tools/bad-input.test.ts › refuses bad input",
  timeout: `${IN}/stopping.test.ts › stops when its time is over`,
  cancel: `${IN}/stopping.test.ts › stops when it is cancelled`,
} as const;

/** @param failure of the other side, or of what the task runs. */
function tool(success: string, failure: string): Evidence {
  return { ...FOR_EACH, success: `${IN}/${success}`, failure: `${IN}/${failure}` };
}

const AT_ONCE = "(it is over at once)";

export const MATRIX: Readonly<Record<string, Evidence>> = {
  artifact: tool(
    "artifact.test.ts › puts a value and gets it by reference, URI and name, whatever the field is called",
    "artifact.test.ts › refuses %s",
  ),
  container: tool(
    "container.test.ts › gives what result.json holds, with the facts of its run, and the lines as logs",
    "container.test.ts › a failure has the exit code, the end of stderr, and what was left all the same",
  ),
  cuda: tool(
    "cuda.test.ts › a script runs on the GPU that it was given",
    "cuda.test.ts › a source that cannot be compiled is an exit code, with what the compiler says",
  ),
  duckdb: tool(
    "duckdb.test.ts › have the shape of the postgres tool's",
    "duckdb.test.ts › say what and where; syntax errors before anything runs",
  ),
  ducklake: tool(
    "duckdb.test.ts › a ducklake task without a catalog is a duckdb task",
    "duckdb.test.ts › an extension that is not there is named, with what to do",
  ),
  http: tool(
    "http.test.ts › gives status, headers, and the body under both names",
    "http.test.ts › a refused connection, a bad address, a large answer",
  ),
  javascript: tool(
    "javascript.test.ts › gives `result`, what it returns, or what main returns",
    "javascript.test.ts › an exception has its class, message and the task's own stack",
  ),
  mcp: tool(
    "mcp.test.ts › calls a tool with arguments, or with the task's input",
    "mcp.test.ts › a server that is down, away, too talkative or no MCP server fails the task",
  ),
  nats: tool(
    "nats.test.ts › puts, gets, lists, deletes and purges",
    "nats.test.ts › fails without a server, with an unknown credential and with no answer",
  ),
  noop: {
    success: `${ENGINE}/semantics.test.ts › names in scope`,
    "bad input": "(it takes anything)",
    failure: "(it has nothing to fail with)",
    timeout: AT_ONCE,
    cancel: AT_ONCE,
  },
  playbook: {
    success: `${ENGINE}/child.test.ts › starts a child, holds no command, and takes its value`,
    "bad input": FOR_EACH["bad input"],
    failure: `${ENGINE}/child.test.ts › that fails is a failed task, named after the child`,
    timeout: `${ENGINE}/child.test.ts › times out by a timer, and its child is cancelled`,
    cancel:
      "integration/orchestrator/recovery.test.ts › cancelling a parent cancels its child and waits for it",
  },
  postgres: tool(
    "postgres.test.ts › gives rows, columns and count of the last statement, and of each",
    "postgres.test.ts › a connection that is cut is a failure that may be tried again",
  ),
  python: tool(
    "python.test.ts › gives the global `result`",
    "python.test.ts › an exception has its class, message and the task's own traceback",
  ),
  script: tool(
    "script.test.ts › runs each language; python when none is said",
    "script.test.ts › a refusal and an outage are failures of their kinds",
  ),
  secrets: {
    ...FOR_EACH,
    success:
      "integration/worker/secrets-tool.test.ts › gives a credential whole, some of its fields, or one",
    failure:
      "integration/worker/secrets-tool.test.ts › says what is missing, and why a provider is not read directly",
  },
  sftp: tool(
    "sftp.test.ts › puts and gets text, bytes and JSON",
    "sftp.test.ts › a host that is away, or that knows no such key, is told apart",
  ),
  shell: tool(
    "shell.test.ts › gives exit code and output, and the lines as logs",
    "shell.test.ts › a failure has the end of stderr",
  ),
  snowflake: tool(
    "snowflake.test.ts › logs in by key pair, waits for the result and gives rows",
    "snowflake.test.ts › gives up in the end, as a server error; an account that is away is a connection failure",
  ),
  ssh: tool(
    "ssh.test.ts › gives exit code and output, and the lines as logs",
    "ssh.test.ts › a host that is away is a connection failure",
  ),
  subscription: tool(
    "nats.test.ts › polls, and answers for what it took",
    "nats.test.ts › says what it does not do",
  ),
  transfer: tool(
    "transfer.test.ts › maps names, coerces numbers, and keeps every character",
    "transfer.test.ts › a target that is cut off is a failure that can be tried again",
  ),
  typescript: tool(
    "javascript.test.ts › strips TypeScript",
    "javascript.test.ts › an exception in TypeScript too",
  ),
  wait: {
    success: `${ENGINE}/wait.test.ts › lasts as long as it says, holds no command, and takes a template`,
    "bad input": FOR_EACH["bad input"],
    failure: `${ENGINE}/wait.test.ts › fails when it says nothing that can be understood`,
    timeout: `${ENGINE}/wait.test.ts › fails at its deadline, or goes on without a payload`,
    cancel: `${ENGINE}/wait.test.ts › ends with a cancel and with its step's timeout`,
  },
};
