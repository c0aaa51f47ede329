/** The commands about GPUs. */
import type { Command } from "@commander-js/extra-typings";
import { clientOptions } from "../config/tables.ts";
import type { CliContext } from "./context.ts";
import { addFlags, example } from "./flags.ts";
import type { Finish } from "./program-parts.ts";
import { apiOf } from "./program-parts.ts";

export function addGpuCommands(program: Command, context: CliContext, finish: Finish): void {
  const gpu = program.command("gpu").description("GPUs: what each is doing, and for whom.");
  const list = gpu
    .command("list")
    .description("List the GPUs of all workers with who holds them, and what waits for GPUs.")
    .option("--pool <name>", "only those of this pool")
    .option("--state <state>", "only ready, leased, unclean, out_of_service or lost ones")
    .option("-w, --watch", "again every two seconds, until stopped")
    .option("-j, --json", "print JSON; with --watch a line each time")
    .action(async (flags) => {
      const { listGpus } = await import("./gpu-commands.ts");
      finish(await listGpus(context, apiOf(context, flags), flags));
    });
  addFlags(list, clientOptions);
  example(
    list,
    "noetl gpu list --pool gpu-01 --watch",
    "noetl gpu list --state out_of_service --json | jq -r '.[].reason'",
  );

  const get = gpu
    .command("get")
    .argument("<id>", "id of a GPU, or its beginning")
    .description("Show one GPU.")
    .option("-j, --json", "print JSON")
    .action(async (id, flags) => {
      const { getGpu } = await import("./gpu-commands.ts");
      finish(await getGpu(context, apiOf(context, flags), id, flags));
    });
  addFlags(get, clientOptions);
  example(get, "noetl gpu get GPU-5f2c0a41");
}
