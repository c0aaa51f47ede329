/** The commands for who writes playbooks and who looks after servers: validate, test, tools, context, query. */
import type { Command } from "@commander-js/extra-typings";
import { clientOptions, testOptions, toolsOptions } from "../config/tables.ts";
import type { CliContext } from "./context.ts";
import { addFlags, example } from "./flags.ts";
import type { Finish } from "./program-parts.ts";
import { apiOf } from "./program-parts.ts";

export function addDevelopCommands(program: Command, context: CliContext, finish: Finish): void {
  addValidate(program, context, finish);
  addTest(program, context, finish);
  addTools(program, context, finish);
  addContext(program, context, finish);
  addQuery(program, context, finish);
  addCleanup(program, context, finish);
}

function addValidate(program: Command, context: CliContext, finish: Finish): void {
  const validate = program
    .command("validate")
    .argument("<paths...>", "files, folders with all below")
    .description("Check playbooks, schedules, subscriptions and tests, without a server.")
    .option("--strict", "warnings count as errors")
    .option("-j, --json", "print JSON")
    .action(async (paths, flags) => {
      const { validate: check } = await import("./validate-command.ts");
      finish(await check(context, paths, flags));
    });
  example(validate, "noetl validate playbooks/", "noetl validate etl.yaml --strict --json");
}

function addTest(program: Command, context: CliContext, finish: Finish): void {
  const test = program
    .command("test")
    .argument("<paths...>", "FILE.test.yaml, the playbook beside it, or folders with all below")
    .description("Run playbooks against stubbed tool answers and check what their tests expect.")
    .option("--filter <text>", "only tests whose name has this text")
    .option("--junit <file>", "write a report in JUnit's form")
    .option("--trace", "show the steps of tests that pass too")
    .option("-j, --json", "print JSON")
    .action(async (paths, flags) => {
      const { test: run } = await import("./test-command.ts");
      finish(await run(context, paths, { ...flags }));
    });
  addFlags(test, testOptions);
  example(
    test,
    "noetl test etl.yaml",
    "noetl test playbooks/ --junit report.xml",
    "noetl test record 531442233210601472 > etl.test.yaml",
  );
  const record = test
    .command("record")
    .argument("<execution>", "execution id")
    .description("Print a test that stubs every task with what an execution's tasks gave.")
    .option("--playbook <file>", "the playbook's file, as the test is to name it")
    .option("--name <text>", "name of the test")
    .action(async (id, _flags, command) => {
      const flags = command.optsWithGlobals();
      const { recordTest } = await import("./record-command.ts");
      finish(await recordTest(context, apiOf(context, flags), id, flags));
    });
  addFlags(record, clientOptions);
  example(record, "noetl test record 531442233210601472 --playbook etl.yaml > etl.test.yaml");
}

function addTools(program: Command, context: CliContext, finish: Finish): void {
  const tools = program
    .command("tools")
    .argument("[kind]", "one of them, with its fields, result, failures and an example")
    .description("List the tools that playbooks may call, and what this machine lacks for them.")
    .option("-j, --json", "print JSON, with a JSON Schema for each")
    .action(async (kind, flags) => {
      const { showTools } = await import("./tools-command.ts");
      finish(await showTools(context, kind, flags));
    });
  addFlags(tools, toolsOptions);
  example(tools, "noetl tools", "noetl tools http", "noetl tools postgres --json | jq .schema");
}

function addContext(program: Command, context: CliContext, finish: Finish): void {
  const contexts = program
    .command("context")
    .description("Servers by name, for all commands that talk to one.");
  const add = contexts
    .command("add")
    .argument("<name>", "name of the context")
    .description("Add a server, or change it. The first one is used at once.")
    .requiredOption("--server-url <url>", "address, such as https://noetl.example")
    .option("--ca-file <file>", "PEM file of the authority that signed its certificate")
    .option("--token-env <name>", "environment variable with the server's token")
    .option("--token-stdin", "read the token from standard input")
    .option("--use", "use it from now on")
    .action(async (name, flags) => {
      const { addContext: save } = await import("./context-commands.ts");
      finish(await save(context, name, flags));
    });
  example(
    add,
    "noetl context add home --server-url http://127.0.0.1:8082",
    "noetl context add prod --server-url https://noetl.example --token-stdin --use < token",
  );
  contexts
    .command("list")
    .description("List the contexts; * is in use.")
    .option("-j, --json", "print JSON")
    .action(async (flags) => {
      const { listContexts } = await import("./context-commands.ts");
      finish(listContexts(context, flags));
    });
  contexts
    .command("use")
    .argument("<name>", "name of a context")
    .description("Talk to this server from now on.")
    .action(async (name) => {
      const { useContext } = await import("./context-commands.ts");
      finish(useContext(context, name));
    });
  contexts
    .command("show")
    .alias("current")
    .argument("[name]", "name of a context; default: the one in use")
    .description("Show a context, without its token.")
    .option("-j, --json", "print JSON")
    .action(async (name, flags) => {
      const { showContext } = await import("./context-commands.ts");
      finish(showContext(context, name, flags));
    });
  contexts
    .command("delete")
    .argument("<name>", "name of a context")
    .description("Forget a server.")
    .action(async (name) => {
      const { deleteContext } = await import("./context-commands.ts");
      finish(deleteContext(context, name));
    });
}

function addQuery(program: Command, context: CliContext, finish: Finish): void {
  const query = program
    .command("query")
    .argument("<sql>", "one statement")
    .description("Ask a server's database, or that of a credential. For operators; read-only.")
    .option("-f, --format <name>", "table or json", "table")
    .option("-s, --schema <name>", "schema of names without one", "noetl")
    .option(
      "--credential <name>",
      "a credential of type postgres, and not the server's own database",
    )
    .option("--limit <n>", "rows at most")
    .action(async (sql, flags) => {
      const { query: ask } = await import("./query-command.ts");
      finish(await ask(context, flags, sql));
    });
  addFlags(query, clientOptions);
  example(
    query,
    `NOETL_OPERATOR_TOKEN=… noetl query "SELECT status, count(*) FROM execution GROUP BY 1"`,
    `noetl query "SELECT now()" --credential warehouse -f json`,
  );
}

function addCleanup(program: Command, context: CliContext, finish: Finish): void {
  const cleanup = program
    .command("cleanup")
    .description("Cancel executions that began long ago and have not ended, with their children.")
    .option("--older-than-minutes <n>", "since they began (default 60)")
    .option("--dry-run", "only say which")
    .option("-j, --json", "print JSON")
    .action(async (flags) => {
      const { cleanup: end } = await import("./cleanup-command.ts");
      finish(await end(context, apiOf(context, flags), flags));
    });
  addFlags(cleanup, clientOptions);
  example(cleanup, "noetl cleanup --older-than-minutes 1440 --dry-run");
}
