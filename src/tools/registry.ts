/** All tools. A new one is a file that exports a {@link ToolModule} and a line in {@link MODULES}. */
import { tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import type { Runtimes } from "../containers/host.ts";
import { NO_RUNTIMES } from "../containers/host.ts";
import { assert } from "../core/assert.ts";
import { SERVER_TOOLS } from "../dsl/server-tools.ts";
import type { ToolDescriptions } from "../dsl/tool-description.ts";
import { artifactModule } from "./artifact.ts";
import { containerModule } from "./container.ts";
import { CUDA_IMAGE, cudaModule } from "./cuda.ts";
import { DuckdbDatabases } from "./duckdb/databases.ts";
import { duckdbModule } from "./duckdb.ts";
import type { Environment } from "./environment.ts";
import { httpModule } from "./http.ts";
import { javascriptModule } from "./javascript.ts";
import { mcpModule } from "./mcp.ts";
import { natsModule } from "./nats.ts";
import { noopModule } from "./noop.ts";
import { postgresModule } from "./postgres.ts";
import { pythonModule } from "./python.ts";
import { scriptModule } from "./script.ts";
import { secretsModule } from "./secrets.ts";
import { sftpModule } from "./sftp.ts";
import { shellModule } from "./shell.ts";
import { snowflakeModule } from "./snowflake.ts";
import { sshModule } from "./ssh.ts";
import { subscriptionModule } from "./subscription.ts";
import type { GpuWatch, Tool, ToolModule, ToolParts } from "./tool.ts";
import { transferModule } from "./transfer.ts";

const MODULES: readonly ToolModule[] = [
  artifactModule,
  containerModule,
  cudaModule,
  duckdbModule,
  httpModule,
  javascriptModule,
  mcpModule,
  natsModule,
  noopModule,
  postgresModule,
  pythonModule,
  scriptModule,
  secretsModule,
  sftpModule,
  shellModule,
  snowflakeModule,
  sshModule,
  subscriptionModule,
  transferModule,
];

/** What a playbook may use: the kinds of the modules, and those that the server itself runs. */
export const KNOWN_TOOL_KINDS: ToolDescriptions = new Map([
  ...MODULES.flatMap(({ descriptions }) =>
    descriptions.map((description) => [description.kind, description] as const),
  ),
  ...SERVER_TOOLS,
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
  /** What runs containers; default: nothing does. */
  readonly runtimes?: Runtimes;
  readonly gpus?: GpuWatch;
  /** Image of `kind: cuda`. Default {@link CUDA_IMAGE}. */
  readonly cudaImage?: string;
  /** Folders of this machine that container tasks may mount. Default: none. */
  readonly mountDirs?: readonly string[];
}

export interface Tools {
  /** That this machine can run. */
  readonly kinds: readonly string[];
  /** What it lacks for the others, a sentence by kind. */
  readonly lacking: ReadonlyMap<string, string>;
  /** Also one that cannot run here: its failure says why. */
  get(kind: string): Tool | undefined;
  /** Starts the processes that tasks need, ahead of the first one. */
  prestart(): void;
  /** Ends all processes and connections; no task may run any more. */
  close(): Promise<void>;
}

export function createTools(options: ToolsOptions): Tools {
  const tools = new Map<string, Tool>();
  const parts = partsOf(options, tools);
  for (const tool of MODULES.flatMap(({ create }) => create(parts))) {
    tools.set(tool.description.kind, tool);
  }
  return {
    get kinds() {
      return [...tools].flatMap(([kind, tool]) => (tool.lacks?.() === undefined ? [kind] : []));
    },
    get lacking() {
      const found = [...tools].map(([kind, tool]) => [kind, tool.lacks?.()] as const);
      return new Map(found.flatMap(([kind, lack]) => (lack === undefined ? [] : [[kind, lack]])));
    },
    get: (kind) => tools.get(kind),
    prestart: () => {
      for (const tool of tools.values()) {
        tool.prestart?.();
      }
    },
    close: async () => {
      await Promise.all([...tools.values()].map((tool) => tool.close?.()));
      await parts.databases.close();
    },
  };
}

function partsOf(options: ToolsOptions, tools: ReadonlyMap<string, Tool>): ToolParts {
  const { env, selfCommand, maxOutputBytes = OUTPUT_BYTES_MAX } = options;
  const memoryBytes = options.memoryBytes ?? Math.floor(machineBytes() * MEMORY_SHARE_MAX);
  const filesDir = options.filesDir ?? join(tmpdir(), "noetl-files");
  const runnerCommand = (name: string): readonly string[] => [...selfCommand, "__runner", name];
  const library = options.duckdbLibrary ?? (() => Promise.resolve(undefined));
  const command = runnerCommand("duckdb");
  return {
    env,
    maxOutputBytes,
    memoryBytes,
    filesDir,
    python: options.python ?? "python3",
    runnerCountMax: options.runnerCountMax ?? RUNNER_COUNT_MAX,
    runnerCommand,
    runtimes: options.runtimes ?? NO_RUNTIMES,
    ...(options.gpus === undefined ? {} : { gpus: options.gpus }),
    cudaImage: options.cudaImage ?? CUDA_IMAGE,
    mountDirs: options.mountDirs ?? [],
    databases: new DuckdbDatabases({ command, env, memoryBytes, filesDir, library }),
    tool: (kind) => {
      const tool = tools.get(kind);
      assert(tool !== undefined, `there is a tool of kind ${kind}`);
      return tool;
    },
  };
}

/** Memory of the machine, or of the container if that is less. */
function machineBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}
