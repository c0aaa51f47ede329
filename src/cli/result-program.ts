/** The commands about results: `result EXECUTION STEP`, and stored values by reference or name. */
import type { Command, CommandUnknownOpts } from "@commander-js/extra-typings";
import { clientOptions } from "../config/tables.ts";
import type { CliContext } from "./context.ts";
import { addFlags, example } from "./flags.ts";
import type { Finish } from "./program-parts.ts";
import { apiOf } from "./program-parts.ts";

export function addResultCommands(program: Command, context: CliContext, finish: Finish): void {
  const result = program
    .command("result")
    .description("Results of steps, and stored values: read, list, store, delete.");
  addReads(result, context, finish);
  addWrites(result, context, finish);
  example(
    result,
    "noetl result 531442233210601472 fetch",
    "noetl result 531442233210601472 fetch --item 3 -o item.json",
    "noetl result get noetl://execution/… -o report.json",
  );
}

function addReads(result: CommandUnknownOpts, context: CliContext, finish: Finish): void {
  const step = result
    .command("step", { isDefault: true })
    .argument("<execution>", "execution id")
    .argument("<step>", "name of the step, or of an artifact")
    .description("Print the value of a step, whole however large; `result ID STEP` does the same.")
    .option("--item <n>", "of a loop: the value of this item, from 0")
    .option("-o, --output <file>", "write it to a file")
    .action(async (id, name, flags) => {
      const { showStepResult } = await import("./result-commands.ts");
      finish(await showStepResult(context, apiOf(context, flags), { id, step: name }, flags));
    });
  addFlags(step, clientOptions);

  const get = result
    .command("get")
    .argument("<ref>", "reference (_ref), canonical URI or URN")
    .description("Print a stored value.")
    .option("-o, --output <file>", "write it to a file")
    .action(async (ref, flags) => {
      const { getResult } = await import("./result-commands.ts");
      finish(await getResult(context, apiOf(context, flags), ref, flags));
    });
  addFlags(get, clientOptions);

  const list = result
    .command("list")
    .argument("<execution>", "execution id")
    .description("List the stored values of an execution, oldest first.")
    .option("--name <text>", "only those of this name")
    .option("--limit <n>", "so many at most (default 100)")
    .option("--json", "print JSON")
    .action(async (id, flags) => {
      const { listResults } = await import("./result-commands.ts");
      finish(await listResults(context, apiOf(context, flags), id, flags));
    });
  addFlags(list, clientOptions);
}

function addWrites(result: CommandUnknownOpts, context: CliContext, finish: Finish): void {
  const put = result
    .command("put")
    .argument("<execution>", "execution id")
    .argument("<name>", "what to call it")
    .argument("<file>", "what to store")
    .description("Store a file as an artifact of an execution.")
    .option("--scope <name>", "step, execution (default), workflow or permanent")
    .option("--ttl <duration>", "how long at most, such as 30m or 7d")
    .option("--content-type <type>", "default: by the file's name")
    .option("--json", "print JSON")
    .action(async (id, name, file, flags) => {
      const { putResult } = await import("./result-commands.ts");
      finish(await putResult(context, apiOf(context, flags), { id, name, file }, flags));
    });
  addFlags(put, clientOptions);

  const remove = result
    .command("delete")
    .argument("<ref>", "reference (_ref)")
    .description("Delete a stored value. Whoever still needs it will fail.")
    .action(async (ref, flags) => {
      const { deleteResult } = await import("./result-commands.ts");
      finish(await deleteResult(context, apiOf(context, flags), ref));
    });
  addFlags(remove, clientOptions);
}
