/** `noetl health` as people and programs use it: table, JSON, `--watch`, `--component`, exit codes, `--listen`. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { CliContext, ExitReason } from "../../../src/cli/context.ts";
import { runCommand } from "../../../src/cli/program.ts";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import type { StandIn } from "./world.ts";
import { LIMIT_MS, startSilence, startStandIn } from "./world.ts";

setDefaultTimeout(LIMIT_MS);

const WORKER = {
  worker_id: "w-1",
  name: "cpu-01-17",
  pool: "cpu-01",
  status: "live",
  hostname: "box",
  runtimes: [{ name: "podman", version: "4.3.1", is_usable: true, gpus: "cdi", problem: null }],
  gpus: { total: 0 },
};

let nats = "ok";
let server: StandIn;

/** A **stand-in** of a server, whose word on NATS the tests change. */
beforeAll(() => {
  server = startStandIn((url) => {
    switch (url.pathname) {
      case "/readyz": {
        const status = nats === "ok" ? "ok" : "not_ready";
        const body = { status, database: "ok", nats, uptime_seconds: 7200, version: "0.1.0" };
        return Response.json(body, { status: status === "ok" ? 200 : 503 });
      }
      case "/api/worker/pools":
        return Response.json([
          { name: "cpu-01", workers: 1, slots: 8, free_slots: 6, queued: 0, running: 2 },
        ]);
      case "/api/workers":
        return Response.json({
          workers: [{ ...WORKER, last_heartbeat: new Date().toISOString() }],
        });
      case "/api/gpus":
        return Response.json({ gpus: [] });
      default:
        return undefined;
    }
  });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

interface Started {
  readonly lines: string[];
  readonly stop: () => void;
  readonly ended: Promise<ExitReason>;
  text(): string;
}

function start(
  args: readonly string[],
  { env = {}, isTerminal = false }: { env?: Record<string, string>; isTerminal?: boolean } = {},
): Started {
  const lines: string[] = [];
  const controller = new AbortController();
  const context: CliContext = {
    env: { NOETL_CONFIG_DIR: makeScratchDir("config"), NOETL_SERVER_URL: server.url, ...env },
    signal: controller.signal,
    out: (text) => void lines.push(text),
    note: (text) => void lines.push(text),
    isTerminal,
  };
  const ended = runCommand(["health", ...args], context);
  return { lines, stop: () => controller.abort(), ended, text: () => lines.join("\n") };
}

async function run(args: readonly string[], options: Parameters<typeof start>[1] = {}) {
  const started = start(args, options);
  return { reason: await started.ended, text: started.text() };
}

describe("once", () => {
  test("a short table for those who have nothing but a server", async () => {
    const { reason, text } = await run([]);
    expect(reason).toBe("ok");
    expect(
      text.replace(server.url, "http://SERVER").replace(/heartbeat \d+ m?s ago/, "heartbeat now"),
    ).toBe(
      `COMPONENT    STATUS  WHAT
postgresql   ok      Answers the server (DATABASE_URL has it looked at more closely)
nats         ok      Answers the server (NATS_URL has it looked at more closely)
server       ok      0.1.0 at http://SERVER · up 2 h
pool/cpu-01  ok      1 worker · 6 of 8 slots free · heartbeat now

Not configured, so not checked: grpc (NOETL_GRPC_ADDRESS), victoriametrics (NOETL_VICTORIAMETRICS_URL),
  victorialogs (NOETL_VICTORIALOGS_URL), vmalert (NOETL_VMALERT_URL), vector (NOETL_VECTOR_URL or
  NOETL_VECTOR_METRICS_URL), grafana (NOETL_GRAFANA_URL)

All is well: ok

POOL    WORKER     CONTAINERS                  GPUS
cpu-01  cpu-01-17  podman 4.3.1 (GPUs by CDI)  none`,
    );
  });

  test("what is wrong, why, and what to do; colour on a terminal only", async () => {
    nats = "unhealthy: no answer within 3 s";
    try {
      const { reason, text } = await run([]);
      expect(reason).toBe("unreachable");
      expect(text).toContain(`nats         down      The server says of NATS: no answer within 3 s
                       → Start it, or read the server's log; NATS_URL has it looked at from here.`);
      expect(text).toContain(
        "server       degraded  It answers and cannot work: NATS is unhealthy:",
      );
      expect(text).toContain("The platform is down: see nats, server");
      expect(text).not.toContain("\u001b");
      const colored = await run([], { isTerminal: true });
      expect(colored.text).toContain("\u001b[31mdown");
    } finally {
      nats = "ok";
    }
  });

  test("JSON of a stable form", async () => {
    const { reason, text } = await run(["--json"]);
    expect(reason).toBe("ok");
    const report = JSON.parse(text);
    expect(Object.keys(report)).toEqual([
      "status",
      "version",
      "checked_at",
      "components",
      "workers",
      "gpus",
    ]);
    expect(report).toMatchObject({ status: "ok", workers: [{ name: "cpu-01-17" }], gpus: [] });
    expect(report.components[2]).toEqual({
      component: "server",
      status: "ok",
      message: expect.stringContaining("up 2 h"),
      next_step: null,
      problems: [],
      facts: expect.objectContaining({ uptime_seconds: 7200, version: "0.1.0" }),
      latency_ms: expect.any(Number),
      since: null,
      previous: null,
    });
    expect(report.components.at(-1)).toMatchObject({
      component: "grafana",
      status: "not_configured",
      next_step: "NOETL_GRAFANA_URL has it checked.",
      latency_ms: null,
    });
  });

  test("only some components; a name that is none is told what there is", async () => {
    const { text } = await run(["--component", "server", "--component", "pool", "--json"]);
    const { components } = JSON.parse(text);
    expect(components.map((each: { component: string }) => each.component)).toEqual([
      "server",
      "pool/cpu-01",
    ]);
    const wrong = await run(["--component", "posgresql"]);
    expect(wrong.reason).toBe("usage");
    expect(wrong.text).toContain("--component must be one of postgresql, nats, server");
    expect(wrong.text).toContain('did you mean "postgresql"');
    const absent = await run(["--component", "grafana"]);
    expect(absent.reason).toBe("failed");
  });

  test("exit: well, degraded, down", async () => {
    const nowhere = `http://127.0.0.1:${await findFreePort()}`;
    expect((await run([])).reason).toBe("ok");
    expect((await run([], { env: { NOETL_GRAFANA_URL: nowhere } })).reason).toBe("failed");
    expect((await run(["--server-url", nowhere])).reason).toBe("unreachable");
    expect((await run(["--server-url", `${nowhere},${server.url}`])).reason).toBe("failed");
    expect((await run(["--timeout", "soon"])).reason).toBe("usage");
  });

  test("a component that hangs costs its time and no more", async () => {
    await using silence = startSilence();
    const { reason, text } = await run(["--timeout", "300ms", "--component", "vmalert"], {
      env: { NOETL_VMALERT_URL: silence.url },
    });
    expect(reason).toBe("unreachable");
    expect(text).toContain("No answer within 300 ms (waited for GET");
  });
});

describe("--watch", () => {
  test("prints the table, then a line for each change", async () => {
    const watching = start(["--watch", "--interval", "50ms"]);
    await waitFor("the table", () => watching.text().includes("All is well"));
    nats = "unhealthy: away";
    await waitFor("the change", () => watching.text().includes("nats ok → down"));
    nats = "ok";
    await waitFor("the change back", () => watching.text().includes("nats down → ok"));
    watching.stop();
    expect(await watching.ended).toBe("ok");
    expect(watching.text()).toMatch(
      /\d\dZ nats ok → down: The server says of NATS: away → Start it/,
    );
  });

  test("draws over on a terminal, and marks since when", async () => {
    const watching = start(["-w", "--interval", "50ms"], { isTerminal: true });
    await waitFor("the table", () => watching.lines.length > 0);
    nats = "unhealthy: away";
    const drawn = await waitFor("the change", () =>
      watching.lines.find((each) => each.includes(", was ok")),
    );
    nats = "ok";
    watching.stop();
    await watching.ended;
    expect(drawn).toStartWith("\u001b[H\u001b[2J");
    expect(drawn).toMatch(/SINCE/);
    expect(drawn).toMatch(/\d\d:\d\d:\d\d, was ok {2}The server says of NATS/);
  });

  test("as JSON a line each time, with since and previous", async () => {
    const watching = start(["--watch", "--json", "--interval", "50ms", "--component", "nats"]);
    await waitFor("the first line", () => watching.lines.length > 0);
    nats = "unhealthy: away";
    const line = await waitFor("the change", () =>
      watching.lines.find((each) => each.includes('"previous":"ok"')),
    );
    nats = "ok";
    watching.stop();
    await watching.ended;
    expect(JSON.parse(line).components).toMatchObject([
      { component: "nats", status: "down", previous: "ok", since: expect.stringContaining("T") },
    ]);
  });
});

describe("--listen", () => {
  test("serves probes, health in three forms, one component, and metrics", async () => {
    const port = await findFreePort();
    const serving = start(["--listen", `127.0.0.1:${port}`, "--interval", "100ms"], {
      env: {
        NOETL_LOG_LEVEL: "error",
        NOETL_GRAFANA_URL: `http://127.0.0.1:${await findFreePort()}`,
      },
    });
    const get = async (path: string, accept = "application/json") => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { accept } });
      return { status: response.status, text: await response.text(), headers: response.headers };
    };
    await waitFor("the first report", async () => (await get("/readyz")).status === 200);
    expect((await get("/livez")).status).toBe(200);

    const json = await get("/health");
    expect(json.status).toBe(200);
    expect(JSON.parse(json.text)).toMatchObject({ status: "degraded", version: "0.1.0" });
    const text = await get("/health", "text/plain");
    expect(text.text).toContain("grafana      down");
    const page = await get("/health", "text/html,*/*");
    expect(page.headers.get("content-type")).toContain("text/html");
    expect(page.text).toContain('noetl is <span class="degraded">degraded</span>');
    expect((await get("/health?format=text", "text/html")).text).toStartWith("COMPONENT");

    expect((await get("/health/grafana")).status).toBe(503);
    expect((await get("/health/pool/cpu-01")).status).toBe(200);
    const none = await get("/health/nobody");
    expect(none.status).toBe(404);
    expect(none.text).toContain("there are postgresql, nats, server");
    expect((await get("/other")).status).toBe(404);

    const metrics = await get("/metrics");
    expect(metrics.text).toContain('noetl_health_status{component="pool/cpu-01"} 1');
    expect(metrics.text).toContain('noetl_health_status{component="grafana"} 0');
    expect(metrics.text).toContain("noetl_health_platform_status 0.5");
    expect(metrics.text).not.toContain('component="vector"');

    nats = "unhealthy: away";
    await waitFor("the platform to be down", async () => (await get("/health")).status === 503);
    // This process itself is well: nobody shall restart it for that.
    expect((await get("/livez")).status).toBe(200);
    expect((await get("/readyz")).status).toBe(200);
    nats = "ok";
    await waitFor("the platform to be back", async () => (await get("/health")).status === 200);
    serving.stop();
    expect(await serving.ended).toBe("ok");
  });

  test("a port that is taken, and an address that is none", async () => {
    const taken = await run(["--listen", `127.0.0.1:${server.port}`], {
      env: { NOETL_LOG_LEVEL: "error" },
    });
    expect(taken.reason).toBe("failed");
    expect(taken.text).toContain("choose another port with --listen");
    expect((await run(["--listen", "8090"])).text).toContain("must be :PORT or HOST:PORT");
  });
});
