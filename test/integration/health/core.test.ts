/** `noetl health` and what nothing runs without: PostgreSQL, NATS, servers, gRPC, pools, all of them real. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "nats";
import { Secret } from "../../../src/core/secret.ts";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import { createRpcServer } from "../../../src/rpc/server.ts";
import { CERTIFICATE } from "../../support/certificate.ts";
import { SILENT_LOGGER } from "../../support/log.ts";
import { startNats } from "../../support/nats.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import type { World } from "./world.ts";
import {
  check,
  checkOne,
  LIMIT_MS,
  natsSettings,
  POOL,
  said,
  settingsOf,
  startSilence,
  startStandIn,
  startWorld,
} from "./world.ts";

setDefaultTimeout(LIMIT_MS);

let world: World;

beforeAll(async () => {
  world = await startWorld();
}, LIMIT_MS);

afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

/** A URL like it, with another part. */
function changed(url: string, change: (url: URL) => void): Secret {
  const copy = new URL(url);
  change(copy);
  return new Secret(copy.toString());
}

describe("all well", () => {
  test(
    "says so of each component, with facts",
    async () => {
      const report = await waitFor("all to be well", async () => {
        const found = await check(world.settings);
        return found.status === "ok" && found;
      });
      const statuses = Object.fromEntries(
        report.components.map(({ component, status }) => [component, status]),
      );
      expect(statuses).toEqual({
        postgresql: "ok",
        nats: "ok",
        server: "ok",
        grpc: "ok",
        "pool/cpu-01": "ok",
        victoriametrics: "not_configured",
        victorialogs: "not_configured",
        vmalert: "not_configured",
        vector: "not_configured",
        grafana: "not_configured",
      });
      const of = (name: string) => report.components.find((each) => each.component === name);
      expect(of("postgresql")?.message).toMatch(/^18\.\d+, schema \d+ · \d+ of 100 connections/);
      expect(of("nats")?.facts).toMatchObject({
        server_version: "2.9.10",
        is_jetstream_on: true,
        consumers: [{ pool: POOL, pending: 0 }],
      });
      expect(of(`pool/${POOL}`)?.facts).toMatchObject({ workers: 1, slots: 2, queued: 0 });
    },
    LIMIT_MS,
  );

  test("without addresses of PostgreSQL and NATS the server's word counts", async () => {
    const { components, status } = await check(settingsOf({ serverUrls: [world.serverUrl] }));
    expect(status).toBe("ok");
    expect(components[0]?.message).toContain("Answers the server (DATABASE_URL has it looked at");
    expect(components[1]?.message).toContain("NATS_URL");
  });
});

describe("PostgreSQL", () => {
  const find = async (databaseUrl: Secret) =>
    said(await checkOne("postgresql", { ...world.settings, databaseUrl }));

  test("down", async () => {
    const port = await findFreePort();
    expect(await find(changed(world.db.url, (url) => (url.port = String(port))))).toMatch(
      /down: No PostgreSQL at 127\.0\.0\.1:\d+: nothing listens there \(connection refused\) → Start it/,
    );
  });

  test("the host's name is not known", async () => {
    const text = await find(changed(world.db.url, (url) => (url.hostname = "db.invalid")));
    expect(text).toContain("the name db.invalid is not known here (DNS");
  });

  test("another program's port", async () => {
    const nats = changed(world.db.url, (url) => (url.port = new URL(world.nats.url).port));
    expect(await find(nats)).toContain("a NATS server answers there → Correct DATABASE_URL");
    await using silence = startSilence();
    const silent = changed(world.db.url, (url) => (url.port = String(silence.port)));
    expect(await find(silent)).toContain("something listens there and says nothing");
    const text = said(
      await checkOne("postgresql", { ...world.settings, databaseUrl: silent, timeoutMs: 500 }),
    );
    expect(text).toContain("No answer within 500 ms (waited for PostgreSQL at");
  });

  test("wrong password, no such database", async () => {
    const text = await find(changed(world.db.url, (url) => (url.password = "wrong")));
    expect(text).toContain("refuses the password");
    expect(text).not.toContain("wrong@");
    expect(await find(changed(world.db.url, (url) => (url.pathname = "/nothing")))).toContain(
      'has no such database: database "nothing" does not exist',
    );
  });

  test("not migrated, too old, too new", async () => {
    await using empty = await createTestDatabase({ isMigrated: false });
    expect(await find(new Secret(empty.url))).toContain(
      "down: The database is not migrated: it has none of the platform's tables → Run `noetl db migrate`",
    );
    await using old = await createTestDatabase();
    await old.sql`DELETE FROM noetl.schema_version WHERE version > 3`;
    expect(await find(new Secret(old.url))).toContain("The database has schema 3, and this noetl");
    await old.sql`INSERT INTO noetl.schema_version (version, name, is_breaking) VALUES (9000, 'x', true)`;
    expect(await find(new Secret(old.url))).toContain("was made by a newer noetl");
  });

  test("set to read-only", async () => {
    await using readOnly = await createTestDatabase();
    const { pathname } = new URL(readOnly.url);
    await readOnly.sql.unsafe(
      `ALTER DATABASE ${pathname.slice(1)} SET default_transaction_read_only = on`,
    );
    expect(await find(new Secret(readOnly.url))).toContain("It takes no writes");
  });
});

describe("NATS", () => {
  const find = async (url: string) =>
    said(await checkOne("nats", { ...world.settings, nats: natsSettings(url) }));

  test("down, and another program's port", async () => {
    expect(await find(`nats://127.0.0.1:${await findFreePort()}`)).toContain(
      "nothing listens there (connection refused) → Start it, or correct NATS_URL",
    );
    expect(await find(`nats://${new URL(world.serverUrl).host}`)).toContain("an HTTP server");
  });

  test("JetStream off, wrong password", async () => {
    const port = await findFreePort();
    const off = Bun.spawn(["nats-server", "-a", "127.0.0.1", "-p", String(port)], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    try {
      const url = `nats://127.0.0.1:${port}`;
      await waitFor("nats-server", async () =>
        (await connect({ servers: url })).close().then(() => true),
      );
      expect(await find(url)).toMatch(
        /down: JetStream is off \(NATS 2\.9\.10: .+\) → Start nats-server with -js/,
      );
    } finally {
      off.kill();
      await off.exited;
    }
    const closed = await findFreePort();
    const guarded = Bun.spawn(
      [
        "nats-server",
        "-a",
        "127.0.0.1",
        "-p",
        String(closed),
        "--user",
        "noetl",
        "--pass",
        "right",
      ],
      { stdio: ["ignore", "ignore", "ignore"] },
    );
    try {
      const servers = `127.0.0.1:${closed}`;
      await waitFor("nats-server", async () =>
        (await connect({ servers, user: "noetl", pass: "right" })).close().then(() => true),
      );
      const text = await find(`nats://noetl:wrong@${servers}`);
      expect(text).toContain("refuses user or password");
      expect(text).toContain("NATS_USER");
      expect(text).not.toContain("wrong");
    } finally {
      guarded.kill();
      await guarded.exited;
    }
  });

  test("streams missing, stream configured differently, consumer missing", async () => {
    await using nats = await startNats();
    expect(await find(nats.url)).toContain("degraded: Stream NOETL_COMMANDS is missing");
    const connection = await connect({ servers: new URL(nats.url).host });
    const manager = await connection.jetstreamManager();
    await manager.streams.add({ name: "NOETL_COMMANDS", subjects: ["other.>"] });
    await manager.streams.add({ name: "NOETL_LOGS", subjects: ["noetl.logs.>"] });
    await connection.close();
    const text = await find(nats.url);
    expect(text).toContain('subjects is ["other.>"], not ["noetl.commands.>"]');
    expect(text).toContain("max_age is 0, not 600000000000");
    expect(text).toContain(
      "No consumer noetl_worker_cpu-01: workers of that pool hear of new commands late",
    );
  });
});

describe("a server", () => {
  test("down: what only it could tell is not known", async () => {
    const report = await check(
      settingsOf({ serverUrls: [`http://127.0.0.1:${await findFreePort()}`] }),
    );
    expect(report.status).toBe("down");
    const silent = "unknown: No server answers that could say → See what is said of the server.";
    const checked = report.components.filter((each) => each.status !== "not_configured");
    expect(checked.map((each) => `${each.component} ${said(each)}`)).toEqual([
      `postgresql ${silent}`,
      `nats ${silent}`,
      expect.stringMatching(/^server down: No noetl server at .+: nothing listens .+`noetl up`/),
      `pool ${silent}`,
    ]);
  });

  test("one of two down: the platform is degraded", async () => {
    const dead = `127.0.0.1:${await findFreePort()}`;
    const report = await check({
      ...world.settings,
      serverUrls: [`http://${dead}`, world.serverUrl],
      only: ["server", "pool"],
    });
    expect(report.status).toBe("degraded");
    expect(report.components.map(({ component, status }) => [component, status])).toEqual([
      [`server/${dead}`, "down"],
      [`server/${new URL(world.serverUrl).host}`, "ok"],
      [`pool/${POOL}`, "ok"],
    ]);
  });

  test("another program at its address", async () => {
    await using other = startStandIn(() => Response.json({ status: "ok" }));
    const text = said(await checkOne("server", settingsOf({ serverUrls: [other.url] })));
    expect(text).toContain(
      "is no noetl server (HTTP 200 for /readyz without a noetl server's words)",
    );
    await using page = startStandIn(() => new Response("<html>", { status: 200 }));
    const second = said(await checkOne("server", settingsOf({ serverUrls: [page.url] })));
    expect(second).toContain("Correct NOETL_SERVER_URL");
  });

  test("https for a server that speaks http, and the other way round", async () => {
    const secure = world.serverUrl.replace("http:", "https:");
    expect(said(await checkOne("server", settingsOf({ serverUrls: [secure] })))).toContain(
      "it speaks plain HTTP, not HTTPS → Write http:// in NOETL_SERVER_URL",
    );
    const tls = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      tls: CERTIFICATE,
      fetch: () => new Response("ok"),
    });
    try {
      const plain = settingsOf({ serverUrls: [`http://127.0.0.1:${tls.port}`] });
      expect(said(await checkOne("server", plain))).toContain("it speaks TLS, not plain HTTP");
      const trusted = settingsOf({ serverUrls: [`https://127.0.0.1:${tls.port}`] });
      expect(said(await checkOne("server", trusted))).toContain("is not accepted (");
    } finally {
      await tls.stop(true);
    }
  });

  test(
    "frozen: the time is up, and nothing else hangs",
    async () => {
      world.server.freeze();
      try {
        const settings = { ...world.settings, timeoutMs: 2000 };
        const { components } = await check(settings);
        const of = (name: string) => components.find((each) => each.component === name);
        expect(of("server")?.message).toMatch(/does not answer \/readyz in time|No answer within/);
        expect(of("grpc")?.status).toBe("down");
        expect(of("postgresql")?.status).toBe("ok");
        expect(of("pool")?.status).toBe("unknown");
      } finally {
        world.server.thaw();
      }
    },
    LIMIT_MS,
  );

  test("the database that it uses is gone", async () => {
    await using standIn = startStandIn((url) =>
      url.pathname === "/readyz"
        ? Response.json(
            {
              status: "not_ready",
              database: "unhealthy: connection refused",
              nats: "ok",
              uptime_seconds: 5,
              version: "0.1.0",
            },
            { status: 503 },
          )
        : undefined,
    );
    const settings = settingsOf({ serverUrls: [standIn.url] });
    expect(said(await checkOne("server", settings))).toContain(
      "It answers and cannot work: PostgreSQL is unhealthy: connection refused",
    );
    expect(said(await checkOne("postgresql", settings))).toContain(
      "down: The server says of PostgreSQL: connection refused",
    );
    expect(said(await checkOne("nats", settings))).toStartWith("ok");
  });

  test("a token that it refuses", async () => {
    await using standIn = startStandIn((url) =>
      url.pathname === "/readyz"
        ? Response.json({
            status: "ok",
            database: "ok",
            nats: "ok",
            uptime_seconds: 5,
            version: "0.1.0",
          })
        : Response.json(
            { error: "The token is not valid", code: "TOKEN_INVALID" },
            { status: 401 },
          ),
    );
    const settings = settingsOf({ serverUrls: [standIn.url], token: new Secret("old") });
    const text = said(await checkOne("pool", settings));
    expect(text).toContain("unknown: Not known: The noetl server at");
    expect(text).toContain(
      "refuses the credentials (HTTP 401: The token is not valid) → Correct NOETL_TOKEN",
    );
  });
});

describe("gRPC", () => {
  const find = async (address: string, authority?: string) =>
    said(
      await checkOne("grpc", {
        ...world.settings,
        grpcAddresses: [address],
        grpcTls: { authority },
        timeoutMs: 6000,
      }),
    );

  test("down, the API's port, another program's port", async () => {
    expect(await find(`127.0.0.1:${await findFreePort()}`)).toContain("nothing listens there");
    expect(await find(new URL(world.serverUrl).host)).toContain(
      "the gRPC port is not the port of the HTTP API",
    );
    expect(await find(new URL(world.nats.url).host)).toContain("a NATS server answers there");
  });

  test(
    "TLS on one side only, and a certificate of nobody known",
    async () => {
      expect(await find(`tls://${world.grpcAddress}`)).toContain(
        `it speaks plain gRPC, and was called with TLS → Write ${world.grpcAddress} without tls://`,
      );
      const unused = (): never => {
        throw new Error("nobody calls it");
      };
      const handlers = new Proxy({}, { get: () => unused });
      const rpc = await createRpcServer({
        worker: handlers as never,
        control: handlers as never,
        tls: { certificate: CERTIFICATE.cert, key: CERTIFICATE.key },
        log: SILENT_LOGGER,
      });
      const address = `127.0.0.1:${await rpc.start("127.0.0.1", 0)}`;
      try {
        expect(await find(address)).toContain(
          `it speaks TLS, and was called without → Write tls://`,
        );
        expect(await find(`tls://${address}`)).toContain("by a name, not by an address");
        const named = `tls://${address.replace("127.0.0.1", "localhost")}`;
        expect(await find(named)).toContain("NOETL_GRPC_CA_FILE");
        expect(await find(named, CERTIFICATE.cert)).toContain("ok: Serves workers");
      } finally {
        await rpc.stop();
      }
    },
    LIMIT_MS,
  );
});

describe("pools", () => {
  test(
    "a worker is frozen: its pool has none, and what waits there waits for one",
    async () => {
      world.worker.freeze();
      try {
        const silent = await waitFor(
          "the worker to be missed",
          async () => {
            const found = await checkOne(`pool/${POOL}`, world.settings);
            return found.status !== "ok" && found;
          },
          { deadlineMs: 40_000 },
        );
        expect(said(silent)).toMatch(/degraded: No (heartbeat from|live worker).*worker-1/);
        const file = `${makeScratchDir("playbook")}/job.yaml`;
        await Bun.write(file, PLAYBOOK);
        const content = await Bun.file(file).text();
        await post("/api/catalog/register", { content });
        await post("/api/execute", { path: "tests/health" });
        const waiting = await waitFor(
          "the queue to be seen",
          async () => {
            const found = await checkOne(`pool/${POOL}`, world.settings);
            return found.status === "down" && found;
          },
          { deadlineMs: 40_000 },
        );
        expect(said(waiting)).toMatch(
          /down: No live worker: 1 command waits; worker-1 silent for \d+ s → Start one: noetl worker --pool cpu-01/,
        );
        expect((await check({ ...world.settings, only: ["pool"] })).status).toBe("down");
      } finally {
        world.worker.thaw();
      }
      await waitFor("the worker to be back", async () => {
        return (await checkOne(`pool/${POOL}`, world.settings)).status === "ok";
      });
    },
    2 * LIMIT_MS,
  );

  test("a pool that must have a worker and has none", async () => {
    const settings = { ...world.settings, pools: ["gpu-01"] };
    expect(said(await checkOne("pool/gpu-01", settings))).toContain(
      "down: No live worker → Start one",
    );
    const report = await check({ ...settings, only: ["pool"] });
    expect(report.status).toBe("degraded");
    const named = await check({ ...world.settings, only: ["pool/gpu-02"] });
    expect(named.components.map(said)).toEqual([
      expect.stringContaining("noetl worker --pool gpu-02"),
    ]);
  });
});

const PLAYBOOK = `apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: health, path: tests/health}
workflow:
  - step: start
    tool: {kind: shell, command: "true"}
`;

async function post(path: string, body: unknown): Promise<void> {
  const response = await fetch(`${world.serverUrl}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  expect(response.status).toBeLessThan(300);
}
