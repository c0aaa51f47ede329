/** `noetl demo`: the sample playbook on a platform of its own with two pools. */
import type { Flags } from "../config/read.ts";
import { readOptions } from "../config/read.ts";
import { runOptions } from "../config/tables.ts";
import type { CliContext, ExitReason } from "./context.ts";
import playbook from "./demo.yaml" with { type: "text" };
import { runContent } from "./run.ts";

export async function demo(context: CliContext, flags: Flags): Promise<ExitReason> {
  if (flags["json"] !== true) {
    context.note("Starting PostgreSQL, NATS, a server and the workers cpu-01 and cpu-02 …\n");
  }
  return await runContent(context, {
    content: playbook,
    payload: (serverUrl) => ({ server_url: serverUrl }),
    values: readOptions(runOptions, { flags: { pool: ["cpu-01", "cpu-02"] }, env: {} }),
    server: undefined,
    json: flags["json"] === true,
  });
}
