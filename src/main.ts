/** The program: signals, one command, its exit code. `process.exit` is called here and nowhere else. */
import type { ExitReason } from "./cli/context.ts";

/** Every exit code. README.md shows the same table. */
const EXIT_CODES: Readonly<Record<ExitReason | "forced", number>> = {
  ok: 0,
  failed: 1,
  usage: 2,
  database_newer: 3,
  forced: 4,
  unreachable: 5,
};

const [role, kind] = process.argv.slice(2);
if (role === "__runner" && kind === "javascript") {
  const { runJavascriptRunner } = await import("./tools/javascript/runner.ts");
  await runJavascriptRunner();
  process.exit(EXIT_CODES.ok);
}
if (role === "__runner" && kind === "duckdb") {
  const { runDuckdbRunner } = await import("./tools/duckdb/runner.ts");
  await runDuckdbRunner();
  process.exit(EXIT_CODES.ok);
}

// A bug: nobody knows what state it left behind, and the rows in PostgreSQL do. Start over.
process.on("uncaughtException", (error) => {
  process.stderr.write(`noetl: uncaught ${error.stack ?? error.message}\n`);
  process.exit(EXIT_CODES.failed);
});

const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => {
    if (stop.signal.aborted) {
      process.exit(EXIT_CODES.forced);
    }
    stop.abort();
  });
}
// A reader that went away (`noetl list | head -1`) is no error.
process.stdout.on("error", () => process.exit(EXIT_CODES.ok));

const { runCli } = await import("./cli/program.ts");
const reason = await runCli(process.argv.slice(2), stop.signal);
// Whatever is written by now goes out before the end.
await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
process.exit(EXIT_CODES[reason]);
