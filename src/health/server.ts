/** Servers, each by its HTTP API; and the database and NATS as they see them. */
import type { Service } from "./ask.ts";
import { shownUrl } from "./ask.ts";
import type { Check, Finding, Problem } from "./finding.ts";
import { CheckFailure, degraded, down } from "./finding.ts";
import type { PlatformView, ServerReport } from "./platform-view.ts";
import { ageText } from "./words.ts";

/** One check for each server. @param version of this binary. */
export function serverChecks(view: PlatformView, version: string): readonly Check[] {
  return view.servers.map((server) => {
    const component = view.servers.length === 1 ? "server" : `server/${hostOf(server)}`;
    return {
      component,
      run: async ({ doing }) => {
        doing(`${shownUrl(server)}/readyz`);
        return [serverFinding(component, await view.report(server), { server, version })];
      },
    };
  });
}

function hostOf(server: Service): string {
  return new URL(server.url).host;
}

export function serverFinding(
  component: string,
  report: ServerReport,
  { server, version }: { readonly server: Service; readonly version: string },
): Finding {
  const other = report.version === version ? "" : ` (this client is ${version})`;
  return {
    component,
    summary: `${report.version}${other} at ${shownUrl(server)} · up ${ageText(report.uptimeMs)}`,
    problems: readyProblems(report),
    facts: {
      version: report.version,
      uptime_seconds: report.uptimeMs / 1000,
      url: shownUrl(server),
      database: report.database,
      nats: report.nats,
    },
  };
}

function readyProblems({ isReady, database, nats }: ServerReport): readonly Problem[] {
  const lacking = Object.entries({ PostgreSQL: database, NATS: nats })
    .filter(([, said]) => said !== "ok")
    .map(([name, said]) => `${name} is ${said}`);
  if (lacking.length > 0) {
    return [
      degraded(
        `It answers and cannot work: ${lacking.join("; ")}`,
        "Look at what it lacks; it goes on by itself when that is back.",
      ),
    ];
  }
  return isReady
    ? []
    : [
        degraded(
          "It is shutting down",
          "Nothing, if it is being replaced; otherwise read its log.",
        ),
      ];
}

/** PostgreSQL or NATS by the word of the servers, for clients that cannot reach it themselves. */
export function secondHandCheck(
  view: PlatformView,
  component: "postgresql" | "nats",
  setting: string,
): Check {
  return {
    component,
    run: async () => [secondHandFinding(component, await firstReport(view), setting)],
  };
}

/** Of the first server that answers. @throws CheckFailure `unknown` when none does. */
export async function firstReport(view: PlatformView): Promise<ServerReport> {
  for (const server of view.servers) {
    try {
      return await view.report(server);
    } catch {
      // Its own check says so; another may know.
    }
  }
  throw new CheckFailure("No server answers that could say", "See what is said of the server.", {
    status: "unknown",
  });
}

function secondHandFinding(
  component: "postgresql" | "nats",
  report: ServerReport,
  setting: string,
): Finding {
  const said = component === "nats" ? report.nats : report.database;
  const name = component === "nats" ? "NATS" : "PostgreSQL";
  return {
    component,
    summary: `Answers the server (${setting} has it looked at more closely)`,
    problems:
      said === "ok"
        ? []
        : [
            down(
              `The server says of ${name}: ${said.replace(/^unhealthy: /, "")}`,
              `Start it, or read the server's log; ${setting} has it looked at from here.`,
            ),
          ],
    facts: { source: "server" },
  };
}
