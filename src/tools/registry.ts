/** All tools. A new one is a file that exports a `Tool` and a line here. */
import { tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { createArtifactTool } from "./artifact.ts";
import { DuckdbDatabases } from "./duckdb/databases.ts";
import { createDuckdbTools } from "./duckdb.ts";
import type { Environment } from "./environment.ts";
import { createHttpTool } from "./http.ts";
import { createJavascriptTools } from "./javascript.ts";
import { createMcpTool } from "./mcp.ts";
import { createNatsTool } from "./nats.ts";
import { noopTool } from "./noop.ts";
import { createPostgresTool } from "./postgres.ts";
import { createPythonTool } from "./python.ts";
import { createScriptTool } from "./script.ts";
import { secretsTool } from "./secrets.ts";
import { createSftpTool } from "./sftp.ts";
import { createShellTool } from "./shell.ts";
import { createSnowflakeTool } from "./snowflake.ts";
import { createSshTool } from "./ssh.ts";
import { createSubscriptionTool } from "./subscription.ts";
import type { Tool } from "./tool.ts";
import { createDuckdbSource } from "./transfer/duckdb-source.ts";
import { createDuckdbTarget } from "./transfer/duckdb-target.ts";
import { httpSource } from "./transfer/http-source.ts";
import { postgresSource } from "./transfer/postgres-source.ts";
import { postgresTarget } from "./transfer/postgres-target.ts";
import { createTransferTool } from "./transfer.ts";

/** Kinds that a playbook may use: the registry's, and three that the server itself runs. */
export const KNOWN_TOOL_KINDS: ReadonlySet<string> = new Set([
  "artifact",
  "duckdb",
  "ducklake",
  "http",
  "javascript",
  "mcp",
  "nats",
  "noop",
  "postgres",
  "python",
  "script",
  "secrets",
  "sftp",
  "shell",
  "transfer",
  "snowflake",
  "ssh",
  "subscription",
  "typescript",
  "playbook",
  "wait",
  "workbook",
]);

const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
const RUNNER_COUNT_MAX = 32;
/** A task that takes more of the machine's, or the container's, memory is killed. */
const MEMORY_SHARE_MAX = 0.8;

export interface ToolsOptions {
  /** Starts this very program with more arguments: `["bun", "src/main.ts"]` or `["/path/noetl"]`. */
  readonly selfCommand: readonly string[];
  /** Environment of the processes that run tasks; leave the platform's own secrets out. */
  readonly env: Environment;
  /** Interpreter for `python`, 3.9 or newer. Default `python3`. */
  readonly python?: string;
  /** Largest result of one task, bytes. Default 64 MiB. */
  readonly maxOutputBytes?: number;
  /** Resident memory of one code task, bytes. Default: {@link MEMORY_SHARE_MAX} of the machine's. */
  readonly memoryBytes?: number;
  /** JavaScript runners at once. Default 32. */
  readonly runnerCountMax?: number;
  /** Where tasks' relative paths lead to, such as those of DuckDB files. Default: a temporary folder. */
  readonly filesDir?: string;
  /** Path of DuckDB's native module; default: that of node_modules. */
  readonly duckdbLibrary?: () => Promise<string | undefined>;
}

export interface Tools {
  readonly kinds: readonly string[];
  get(kind: string): Tool | undefined;
  /** Starts the processes that `python` and `javascript` tasks need, ahead of the first one. */
  prestart(): void;
  /** Ends all processes and connections; no task may run any more. */
  close(): Promise<void>;
}

export function createTools(options: ToolsOptions): Tools {
  const { env, maxOutputBytes = OUTPUT_BYTES_MAX } = options;
  const memoryBytes = options.memoryBytes ?? Math.floor(machineBytes() * MEMORY_SHARE_MAX);
  const limits = { env, memoryBytes, maxOutputBytes };
  const python = createPythonTool({ ...limits, python: options.python ?? "python3" });
  const javascript = createJavascriptTools({
    ...limits,
    command: [...options.selfCommand, "__runner", "javascript"],
    runnerCountMax: options.runnerCountMax ?? RUNNER_COUNT_MAX,
  });
  const filesDir = options.filesDir ?? join(tmpdir(), "noetl-files");
  const databases = new DuckdbDatabases({
    command: [...options.selfCommand, "__runner", "duckdb"],
    env,
    memoryBytes,
    filesDir,
    library: options.duckdbLibrary ?? (() => Promise.resolve(undefined)),
  });
  const nats = createNatsTool({ maxOutputBytes });
  const shell = createShellTool({ env });
  const postgres = createPostgresTool({ maxOutputBytes });
  const tools = new Map<string, Tool>(
    [
      createArtifactTool({ filesDir, maxOutputBytes }),
      ...createDuckdbTools({ databases, maxOutputBytes }),
      createHttpTool({ maxOutputBytes }),
      javascript.javascript,
      createMcpTool({ maxOutputBytes }),
      nats,
      noopTool,
      postgres,
      python,
      createScriptTool({ ...javascript, python, shell }),
      secretsTool,
      createSftpTool({ env, maxOutputBytes }),
      shell,
      createSnowflakeTool({ maxOutputBytes }),
      createSshTool({ env }),
      createSubscriptionTool(nats),
      createTransferTool({
        sources: {
          duckdb: createDuckdbSource(databases),
          http: httpSource,
          postgres: postgresSource,
        },
        targets: { duckdb: createDuckdbTarget(databases), postgres: postgresTarget },
      }),
      javascript.typescript,
    ].map((tool) => [tool.kind, tool]),
  );
  return {
    kinds: [...tools.keys()],
    get: (kind) => tools.get(kind),
    prestart: () => {
      python.prestart();
      javascript.prestart();
    },
    close: async () => {
      await Promise.all([
        databases.close(),
        python.close(),
        javascript.close(),
        nats.close(),
        postgres.close(),
      ]);
    },
  };
}

/** Memory of the machine, or of the container if that is less. */
function machineBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}
