/** The command line: which commands there are, what they take, and what their failures mean. */
import { Command, CommanderError, Option } from "@commander-js/extra-typings";
import { processEnvironment } from "../config/read.ts";
import {
  clientOptions,
  migrateOptions,
  runOptions,
  serverOptions,
  upOptions,
  workerOptions,
} from "../config/tables.ts";
import { AppError } from "../core/errors.ts";
import { LISTS, RESOURCES } from "./catalog-commands.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { addDevelopCommands } from "./develop-program.ts";
import { addFlags, example } from "./flags.ts";
import { addGpuCommands } from "./gpu-program.ts";
import { addHealthCommand } from "./health-program.ts";
import type { Finish } from "./program-parts.ts";
import { apiOf, oneOf } from "./program-parts.ts";
import { addResultCommands } from "./result-program.ts";
import { addSpellings } from "./spelling-program.ts";
import { addTriggerCommands } from "./trigger-program.ts";
import { COMMIT, VERSION } from "./version.ts";

/** Runs one command of this process; never throws. */
export async function runCli(args: readonly string[], signal: AbortSignal): Promise<ExitReason> {
  return await runCommand(args, {
    env: processEnvironment(),
    signal,
    out: (text) => void process.stdout.write(`${text}\n`),
    note: (text) => void process.stderr.write(`${text}\n`),
    isTerminal: process.stdout.isTTY === true,
  });
}

export async function runCommand(
  args: readonly string[],
  context: CliContext,
): Promise<ExitReason> {
  let reason: ExitReason = "ok";
  const program = createProgram(context, (ended) => {
    reason = ended;
  });
  try {
    await program.parseAsync([...args], { from: "user" });
    return reason;
  } catch (error) {
    return explain(error, context);
  }
}

export function createProgram(context: CliContext, finish: Finish): Command {
  const program = new Command("noetl")
    .description("Durable YAML playbooks on pools of CPU and GPU workers, from one binary.")
    .version(`noetl ${VERSION} (${COMMIT})`, "-v, --version")
    .showHelpAfterError("(noetl COMMAND --help tells more)")
    .configureHelp({ showGlobalOptions: true })
    .exitOverride();
  addPlatformCommands(program, context, finish);
  addPlaybookCommands(program, context, finish);
  addOperateCommands(program, context, finish);
  addCatalogCommands(program, context, finish);
  addDevelopCommands(program, context, finish);
  addResultCommands(program, context, finish);
  addGpuCommands(program, context, finish);
  addTriggerCommands(program, { context, finish, apiOf: (flags) => apiOf(context, flags) });
  addOtherCommands(program, context, finish);
  addSpellings(program, context, finish);
  return program;
}

function addPlatformCommands(program: Command, context: CliContext, finish: Finish): void {
  const up = program
    .command("up")
    .description("Run the whole platform on this machine: server, workers, PostgreSQL and NATS.")
    .action(async (flags) => {
      const { up: runUp } = await import("./up.ts");
      finish(await runUp(context, { ...flags }));
    });
  addFlags(up, upOptions);
  example(up, "noetl up --pool cpu-01 --pool cpu-02", "noetl up --port 0 --data-dir /srv/noetl");

  const server = program
    .command("server")
    .description("Run a server: HTTP API and page, gRPC, orchestration. Any number of replicas.")
    .action(async (flags) => {
      const { server: runServer } = await import("./server.ts");
      finish(await runServer(context, { ...flags }));
    });
  addFlags(server, serverOptions);
  example(server, "DATABASE_URL=postgres://… NATS_URL=nats://… noetl server --port 8082");

  const worker = program
    .command("worker")
    .description("Run a worker: takes the commands of one pool and runs their tools.")
    .action(async (flags) => {
      const { worker: runWorker } = await import("./worker.ts");
      finish(await runWorker(context, { ...flags }));
    });
  addFlags(worker, workerOptions);
  example(worker, "NATS_URL=nats://… noetl worker --pool cpu-01 --server 127.0.0.1:9082");
  const workers = worker
    .command("list")
    .description("List the workers that a server knows.")
    .option("-j, --json", "print JSON")
    .action(async (flags, command) => {
      const { list } = await import("./catalog-commands.ts");
      finish(await list(context, apiOf(context, command.optsWithGlobals()), "workers", flags));
    });
  addFlags(workers, clientOptions);
}

function addPlaybookCommands(program: Command, context: CliContext, finish: Finish): void {
  const run = program
    .command("run")
    .argument("<file>", "playbook, YAML")
    .description("Run one playbook to its end; without --server-url on a platform of its own.")
    .option("--payload <json>", "inputs, a JSON object merged over the playbook's workload")
    .option("-i, --input <file>", "file with such an object")
    .option("--set <key=value...>", "one input; the value may be JSON")
    .option("-j, --json", "print only the outcome, as JSON")
    .action(async (file, flags) => {
      const { run: runFile } = await import("./run.ts");
      finish(await runFile(context, file, { ...flags }));
    });
  addFlags(run, runOptions);
  example(run, "noetl run hello.yaml", "noetl run etl.yaml --set day=2026-01-31 --json");

  const demo = program
    .command("demo")
    .description("Run a sample playbook on a platform of its own, and show what happens.")
    .option("-j, --json", "print only the outcome, as JSON")
    .action(async (flags) => {
      const { demo: runDemo } = await import("./demo.ts");
      finish(await runDemo(context, { ...flags }));
    });
  example(demo, "noetl demo");

  const exec = program
    .command("exec")
    .argument("<path>", "catalog path of a registered playbook")
    .description("Start a registered playbook on a server.")
    .option("--payload <json>", "inputs, a JSON object merged over the playbook's workload")
    .option("-i, --input <file>", "file with such an object")
    .option("--set <key=value...>", "one input; the value may be JSON")
    .option("-V, --version <n>", "version; default the latest")
    .option("--execution-pool <name>", "pool of steps that name none")
    .option("--dedup-key <key>", "start at most one execution with this key")
    .option("--priority <n>", "0 (last) to 9 (first); default the playbook's")
    .option("-w, --wait", "show it to its end, and end as it does")
    .addOption(new Option("-r, --runtime <name>").hideHelp())
    .option("-j, --json", "print JSON")
    .action(async (path, flags) => {
      checkRuntime(flags.runtime);
      const { exec: start } = await import("./execution-commands.ts");
      finish(await start(context, apiOf(context, flags), path, flags));
    });
  addFlags(exec, clientOptions);
  example(exec, "noetl exec examples/hello --set name=Ada --wait");

  const status = program
    .command("status")
    .argument("<execution>", "execution id")
    .description("Show an execution and its steps. Exit code 1 if it failed or was cancelled.")
    .option("-j, --json", "print JSON")
    .action(async (id, flags) => {
      const { status: show } = await import("./execution-commands.ts");
      finish(await show(context, apiOf(context, flags), id, flags));
    });
  addFlags(status, clientOptions);

  const watch = program
    .command("watch")
    .argument("<execution>", "execution id")
    .description(
      "Show an execution while it runs: steps, waits, and why it waits. Ends as it does.",
    )
    .option("-j, --json", "print its events, a JSON object a line")
    .action(async (id, flags) => {
      const { watch: show } = await import("./watch.ts");
      finish(await show(context, apiOf(context, flags), id, flags));
    });
  addFlags(watch, clientOptions);
  example(
    watch,
    "noetl watch 531442233210601472",
    "noetl watch 531442233210601472 --json | jq -r .event_type",
  );

  const logs = program
    .command("logs")
    .argument("<execution>", "execution id")
    .description("Print what the tasks of an execution wrote.")
    .option("-f, --follow", "go on until the execution ends")
    .option("--step <name>", "only this step")
    .option("--limit <n>", "the newest so many lines (default 1000)")
    .option("-j, --json", "print a JSON object a line")
    .action(async (id, flags) => {
      const { logs: show } = await import("./execution-commands.ts");
      finish(await show(context, apiOf(context, flags), id, flags));
    });
  addFlags(logs, clientOptions);
  example(logs, "noetl logs 531442233210601472 -f --step fetch");

  const cancel = program
    .command("cancel")
    .argument("<execution>", "execution id")
    .description("Cancel an execution and its children.")
    .option("-r, --reason <text>", "kept with the execution")
    .option("--no-cascade", "leave its children alone")
    .option("-j, --json", "print JSON")
    .action(async (id, flags) => {
      const { cancel: end } = await import("./execution-commands.ts");
      finish(await end(context, apiOf(context, flags), id, flags));
    });
  addFlags(cancel, clientOptions);
}

function addOperateCommands(program: Command, context: CliContext, finish: Finish): void {
  const signal = program
    .command("signal")
    .argument("<execution>", "execution id")
    .argument("<name>", "name of the signal that a step waits for")
    .description("Send a signal to an execution. One that comes before its wait is kept.")
    .option("--payload <json>", "any JSON")
    .option("-f, --file <file>", "file with the payload")
    .option("--dedup-key <key>", "the same key again counts once")
    .option("--broadcast", "to all steps and items that wait for it now, not only the oldest")
    .option("--sender <text>", "who sends it, for people")
    .option("-j, --json", "print JSON")
    .action(async (id, name, flags) => {
      const { signal: send } = await import("./operate-commands.ts");
      finish(await send(context, apiOf(context, flags), { id, name }, flags));
    });
  addFlags(signal, clientOptions);
  example(
    signal,
    `noetl signal 531442233210601472 approve --payload '{"by": "Ada"}'`,
    "noetl signal 531442233210601472 uploaded -f report.json --dedup-key report-17",
  );

  const retry = program
    .command("retry")
    .argument("<execution>", "execution id")
    .description("Continue a failed or cancelled execution; what went well is not run again.")
    .option("--step <name...>", "only these of the steps that failed or were cut off")
    .option("--new", "continue in a new execution, and leave the finished one as it is")
    .option("-r, --reason <text>", "kept with the execution")
    .option("-w, --wait", "show it to its end, and end as it does")
    .option("-j, --json", "print JSON")
    .action(async (id, flags) => {
      const { retry: again } = await import("./operate-commands.ts");
      finish(await again(context, apiOf(context, flags), id, flags));
    });
  addFlags(retry, clientOptions);
  example(
    retry,
    "noetl retry 531442233210601472 --wait",
    "noetl retry 531442233210601472 --step load --new",
  );

  const rerun = program
    .command("rerun")
    .argument("<execution>", "execution id")
    .description("Start an execution over: the same playbook version and payload, a new execution.")
    .option("--payload <json>", "inputs, a JSON object merged over the first payload")
    .option("-i, --input <file>", "file with such an object")
    .option("--set <key=value...>", "one input; the value may be JSON")
    .option("--dedup-key <key>", "start at most one execution with this key")
    .option("-w, --wait", "show it to its end, and end as it does")
    .option("-j, --json", "print JSON")
    .action(async (id, flags) => {
      const { rerun: again } = await import("./operate-commands.ts");
      finish(await again(context, apiOf(context, flags), id, flags));
    });
  addFlags(rerun, clientOptions);
  example(rerun, "noetl rerun 531442233210601472 --set day=2026-02-01 --wait");
}

function addCatalogCommands(program: Command, context: CliContext, finish: Finish): void {
  const register = program
    .command("register")
    .argument("[paths...]", "`credential` or `playbook` (default), files, folders with all below")
    .description(
      "Register playbooks, schedules, subscriptions (YAML), or credentials (JSON or YAML).",
    )
    .option("-f, --file <path...>", "a file; the same as naming it")
    .option("-d, --directory <path...>", "a folder; the same as naming it")
    .option("--credential", "the files hold {name, type, data}; the same as `credential`")
    .option("--strict", "refuse playbooks with warnings")
    .option("-j, --json", "print JSON")
    .action(async (paths, flags) => {
      const { register: save } = await import("./catalog-commands.ts");
      const what = readRegistered(paths, flags);
      finish(await save(context, apiOf(context, flags), what.paths, { ...flags, ...what }));
    });
  addFlags(register, clientOptions);
  example(register, "noetl register playbooks/", "noetl register credential -f db.json");

  const list = program
    .command("list")
    .argument("[what]", LISTS.join(", "), "executions")
    .description("List what the server knows.")
    .option("--path <text>", "executions: part of the playbook's path")
    .option("--status <name>", "executions: running, completed, failed or cancelled")
    .option("--limit <n>", "so many at most")
    .option("-j, --json", "print JSON")
    .action(async (what, flags) => {
      const { list: show } = await import("./catalog-commands.ts");
      finish(await show(context, apiOf(context, flags), oneOf(LISTS, what), flags));
    });
  addFlags(list, clientOptions);
  example(list, "noetl list --status failed", "noetl list pools");

  const get = program
    .command("get")
    .argument("<what>", RESOURCES.join(", "))
    .argument("<name>", "id, path or name")
    .description("Show one thing.")
    .option("-V, --version <n>", "playbook: version; default the latest")
    .option("--include-data", "credential: with its secrets, if the server gives them")
    .option("-j, --json", "print JSON")
    .action(async (what, name, flags) => {
      const { get: show } = await import("./catalog-commands.ts");
      finish(await show(context, apiOf(context, flags), oneOf(RESOURCES, what), name, flags));
    });
  addFlags(get, clientOptions);
  example(get, "noetl get playbook examples/hello > hello.yaml", "noetl get credential db");
  addCredentialCommands(program, context, finish);
}

function addCredentialCommands(program: Command, context: CliContext, finish: Finish): void {
  const credentials = program
    .command("credentials")
    .description("Credentials: list, delete, and the key that wraps them.");
  const list = credentials
    .command("list")
    .description("List the credentials, without their content.")
    .option("-j, --json", "print JSON")
    .action(async (flags) => {
      const { list: show } = await import("./catalog-commands.ts");
      finish(await show(context, apiOf(context, flags), "credentials", flags));
    });
  addFlags(list, clientOptions);

  const remove = credentials
    .command("delete")
    .argument("<name>", "name or id")
    .description("Delete a credential. Commands that name it will fail.")
    .option("-j, --json", "print JSON")
    .action(async (name, flags) => {
      const { deleteCredential } = await import("./credential-commands.ts");
      finish(await deleteCredential(context, apiOf(context, flags), name, flags));
    });
  addFlags(remove, clientOptions);

  const rotate = credentials
    .command("rotate")
    .description("Wrap all secrets with the server's current key, while it runs.")
    .option("-j, --json", "print JSON")
    .action(async (flags) => {
      const { rotateCredentials } = await import("./credential-commands.ts");
      finish(await rotateCredentials(context, apiOf(context, flags), flags));
    });
  addFlags(rotate, clientOptions);
  example(
    rotate,
    "NOETL_ENCRYPTION_KEY=new NOETL_ENCRYPTION_OLD_KEYS=old noetl server   # each server, then:",
    "noetl credentials rotate",
  );
}

/** The first word may say what is registered, as in `register credential -f db.json`. */
function readRegistered(
  paths: readonly string[],
  flags: {
    readonly credential?: boolean | undefined;
    readonly file?: readonly string[] | undefined;
    readonly directory?: readonly string[] | undefined;
  },
): { readonly kind: "playbook" | "credential"; readonly paths: readonly string[] } {
  const [first, ...others] = paths;
  const word = ["playbook", "credential"].find((one) => one === first?.replace(/s$/, ""));
  const named = [...(word === undefined ? paths : others), ...(flags.file ?? [])];
  const all = [...named, ...(flags.directory ?? [])];
  if (all.length === 0) {
    throw new UsageError("name the files to register, or folders with such files");
  }
  const isCredential = flags.credential === true || word === "credential";
  return { kind: isCredential ? "credential" : "playbook", paths: all };
}

function addOtherCommands(program: Command, context: CliContext, finish: Finish): void {
  addHealthCommand(program, context, finish);

  const migrate = program
    .command("db")
    .description("The platform's database.")
    .command("migrate")
    .description("Bring the database at DATABASE_URL to this version's schema. Forward only.")
    .option("-j, --json", "print JSON")
    .action(async (flags) => {
      const { migrateDatabase } = await import("./migrate.ts");
      finish(await migrateDatabase(context, flags));
    });
  addFlags(migrate, migrateOptions);
  example(
    migrate,
    "DATABASE_URL=postgres://… noetl db migrate",
    "noetl db migrate --database-wait 60s",
  );

  program
    .command("version")
    .description("Print the version.")
    .option("-j, --json", "print JSON")
    .action((flags) => {
      const version = { version: VERSION, commit: COMMIT, bun: Bun.version };
      context.out(flags.json === true ? JSON.stringify(version) : `noetl ${VERSION} (${COMMIT})`);
    });

  const completion = program
    .command("completion")
    .argument("<shell>", "bash, zsh or fish")
    .description("Print a completion script for a shell.")
    .action(async (shell) => {
      const { COMPLETION_SHELLS, completionScript } = await import("./completion.ts");
      context.out(completionScript(program, oneOf(COMPLETION_SHELLS, shell)));
    });
  example(completion, "source <(noetl completion bash)", "noetl completion fish | source");
}

/** NoETL runs playbooks without a server by this flag. @throws UsageError. */
function checkRuntime(runtime: string | undefined): void {
  if (runtime === "local") {
    throw new UsageError("exec starts playbooks on a server; without one: noetl run FILE");
  }
}

function explain(error: unknown, { note, signal }: CliContext): ExitReason {
  if (error instanceof CommanderError) {
    // Commander has said what is wrong; its help and version come this way too.
    return error.exitCode === 0 ? "ok" : "usage";
  }
  if (error instanceof UsageError) {
    note(`noetl: ${error.message}`);
    return "usage";
  }
  if (signal.aborted) {
    return "ok";
  }
  if (!(error instanceof AppError)) {
    note(error instanceof Error ? `noetl: ${error.stack ?? error.message}` : String(error));
    return "failed";
  }
  note(`noetl: ${error.message}`);
  return REASONS[error.code] ?? "failed";
}

const REASONS: Readonly<Record<string, ExitReason>> = {
  CONFIGURATION_INVALID: "usage",
  DATA_DIR_IN_USE: "usage",
  DATABASE_NEWER: "database_newer",
  SERVER_UNREACHABLE: "unreachable",
};
