/**
 * NoETL's own spellings of commands: those that mean the same work as they are typed, the others say what
 * to type here. Neither is in the help, so that there is one way to learn.
 */
import type { Command } from "@commander-js/extra-typings";
import { clientOptions } from "../config/tables.ts";
import { LISTS } from "./catalog-commands.ts";
import type { CliContext } from "./context.ts";
import { UsageError } from "./context.ts";
import { addFlags } from "./flags.ts";
import type { Finish } from "./program-parts.ts";
import { apiOf, oneOf } from "./program-parts.ts";

export function addSpellings(program: Command, context: CliContext, finish: Finish): void {
  addExecute(program, context, finish);
  addCatalog(program, context, finish);
  for (const [words, instead] of Object.entries(INSTEAD)) {
    addAnswer(program, words.split(" "), `"noetl ${words}" is not a command here: ${instead}`);
  }
}

/** What NoETL's CLI has and this one does not. */
const INSTEAD: Readonly<Record<string, string>> = {
  "server start":
    "noetl server (or noetl up: with workers, PostgreSQL and NATS); it stays in front",
  "server stop": "end it with Ctrl-C or SIGTERM: it drains first",
  "worker start": "noetl worker --pool NAME --slots N; it stays in front",
  "worker stop": "end it with Ctrl-C or SIGTERM: it drains first",
  "db init": "noetl db migrate",
  "db validate": "noetl health, or GET /api/db/validate",
  build: "npm run build makes dist/noetl",
  k8s: "kubectl apply -f deploy/",
  auth: "there are no sessions: noetl context add NAME --server-url URL --token-stdin",
  iap: "there are no infrastructure playbooks with a state of their own: noetl run FILE",
  console: "the page of the server, see noetl up",
  codex: "there is no assistant here",
  ai: "there is no assistant here",
  subscribe: "noetl register subscription.yaml: servers run subscriptions",
};

function addExecute(program: Command, context: CliContext, finish: Finish): void {
  const execute = program.command("execute", { hidden: true }).description("As exec does.");
  const playbook = execute
    .command("playbook")
    .argument("<path>", "catalog path")
    .option("-i, --input <file>", "file with a JSON object of inputs")
    .option("--payload <json>", "inputs")
    .option("--set <key=value...>", "one input")
    .option("-w, --wait", "show it to its end")
    .option("-j, --json", "print JSON")
    .action(async (path, flags) => {
      const { exec } = await import("./execution-commands.ts");
      finish(await exec(context, apiOf(context, flags), path, flags));
    });
  addFlags(playbook, clientOptions);
  const status = execute
    .command("status")
    .argument("<execution>", "execution id")
    .option("-j, --json", "print JSON")
    .action(async (id, flags) => {
      const { status: show } = await import("./execution-commands.ts");
      finish(await show(context, apiOf(context, flags), id, flags));
    });
  addFlags(status, clientOptions);
  const rerun = execute
    .command("rerun")
    .argument("<execution>", "execution id")
    .option("-i, --input <file>", "file with a JSON object of inputs")
    .option("-j, --json", "print JSON")
    .action(async (id, flags) => {
      const { rerun: again } = await import("./operate-commands.ts");
      finish(await again(context, apiOf(context, flags), id, flags));
    });
  addFlags(rerun, clientOptions);
}

function addCatalog(program: Command, context: CliContext, finish: Finish): void {
  const catalog = program
    .command("catalog", { hidden: true })
    .description("As register, get, list.");
  const register = catalog
    .command("register")
    .argument("<paths...>", "files or folders")
    .option("-j, --json", "print JSON")
    .action(async (paths, flags) => {
      const { register: save } = await import("./catalog-commands.ts");
      finish(await save(context, apiOf(context, flags), paths, { ...flags, kind: "playbook" }));
    });
  addFlags(register, clientOptions);
  const get = catalog
    .command("get")
    .argument("<path>", "catalog path")
    .option("--version <n>", "default the latest")
    .option("-j, --json", "print JSON")
    .action(async (path, flags) => {
      const { get: show } = await import("./catalog-commands.ts");
      finish(await show(context, apiOf(context, flags), "playbook", path, flags));
    });
  addFlags(get, clientOptions);
  const list = catalog
    .command("list")
    .argument("[what]", LISTS.join(", "), "playbooks")
    .option("-j, --json", "print JSON")
    .action(async (what, flags) => {
      const { list: show } = await import("./catalog-commands.ts");
      const name = oneOf(LISTS, what.toLowerCase());
      finish(await show(context, apiOf(context, flags), name, flags));
    });
  addFlags(list, clientOptions);
}

/** A command that only says what to type; whatever follows it is taken. */
function addAnswer(parent: Command, [word = "", ...rest]: readonly string[], answer: string): void {
  const known = parent.commands.find((child) => child.name() === word);
  const command = (known ?? parent.command(word, { hidden: true })) as Command;
  if (rest.length > 0) {
    addAnswer(command, rest, answer);
    return;
  }
  command
    .description("Says what to type.")
    .argument("[words...]")
    .allowUnknownOption()
    .helpOption(false)
    .action(() => {
      throw new UsageError(answer);
    });
}
