/** `noetl health`, as the command line has it. */
import type { Command } from "@commander-js/extra-typings";
import { healthOptions } from "../config/tables.ts";
import type { CliContext } from "./context.ts";
import { addFlags, example } from "./flags.ts";
import type { Finish } from "./program-parts.ts";

const MORE = `
What is checked: the server, and by way of it PostgreSQL, NATS and every pool with its workers' container runtimes
and GPUs. What an option or its environment variable names is asked itself: PostgreSQL (DATABASE_URL), NATS
(NATS_URL), gRPC (NOETL_GRPC_ADDRESS), VictoriaMetrics, VictoriaLogs, vmalert, Vector, Grafana. Several servers:
--server-url with commas. Nothing is changed anywhere.

Exit codes: 0 all is well; 1 something is degraded or not known; 5 PostgreSQL, NATS, all servers, gRPC or all
pools are down; 2 wrong usage.

With --listen it goes on checking and answers from memory: /health (200, or 503 when the platform is down; JSON,
text with ?format=text, a page in browsers), /health/COMPONENT, /livez and /readyz (of this process), /metrics.
`;

export function addHealthCommand(program: Command, context: CliContext, finish: Finish): void {
  const health = program
    .command("health")
    .description(
      "Check the whole platform: every component with what is wrong, why, and what to do next.",
    )
    .option("--component <name...>", "only these: postgresql, nats, pool, pool/cpu-01, …")
    .option("-w, --watch", "again and again until stopped; shows what has changed and when")
    .option("-j, --json", "print JSON; with --watch a line each time")
    .action(async (flags) => {
      const { health: check } = await import("./health-command.ts");
      finish(await check(context, flags));
    });
  addFlags(health, healthOptions);
  health.addHelpText("after", MORE);
  example(
    health,
    "noetl health",
    "noetl health --watch --interval 5s",
    "DATABASE_URL=postgres://… NATS_URL=nats://… noetl health --component postgresql --component nats",
    "noetl health --json | jq -r '.components[] | select(.status != \"ok\") | .message'",
    "noetl health --listen :8090",
  );
}
