/** Server and worker of the compiled program with the settings that the manifests give them, on real stores. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { findFreePort } from "../../src/embedded/free-port.ts";
import { noetlBinary, runNoetl, startNoetl } from "../support/binary.ts";
import { readEnv, startDeployedNats, startDeployedPostgres } from "../support/deploy.ts";
import { makeScratchDir } from "../support/scratch.ts";
import { waitFor } from "../support/wait.ts";

const PLAYBOOK = `apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: deployed, path: tests/deployed }
workflow:
  - step: greet
    tool: { kind: python, code: "result = {'pool': 'default'}" }
`;

test("run a playbook with the settings of deploy/", async () => {
  const [postgres, nats] = await Promise.all([startDeployedPostgres(), startDeployedNats()]);
  await using stores = new AsyncDisposableStack();
  stores.use(postgres);
  stores.use(nats);
  const dir = makeScratchDir("deployed");
  const [metricsPort, workerPort] = [await findFreePort(), await findFreePort()];
  const here = {
    POSTGRES_HOST: "127.0.0.1",
    POSTGRES_PORT: String(postgres.port),
    NATS_URL: nats.url,
    NOETL_DATA_DIR: join(dir, "data"),
    NOETL_CACHE_DIR: "",
    NOETL_FILES_DIR: join(dir, "files"),
  };
  const env: Record<string, string> = {
    ...readEnv("base/noetl/server.env"),
    ...readEnv("overlays/local/secrets/server.env"),
    ...here,
    ...{ NOETL_PORT: "0", NOETL_GRPC_PORT: "0", NOETL_METRICS_PORT: String(metricsPort) },
  };

  const early = await runNoetl(["server"], { env });
  expect([early.exitCode, early.stderr]).toEqual([1, expect.stringContaining("noetl db migrate")]);
  const migrated = await runNoetl(["db", "migrate", "--database-wait", "60s"], { env });
  expect([migrated.exitCode, migrated.stdout]).toEqual([0, expect.stringContaining("Applied")]);

  await using server = await startNoetl(["server"], { env });
  const client = { NOETL_SERVER_URL: server.url, NOETL_TOKEN: env["NOETL_TOKEN"] ?? "" };
  expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
  expect((await fetch(`${server.url}/metrics`)).status).toBe(401);
  const metrics = await fetch(`http://127.0.0.1:${metricsPort}/metrics`);
  expect(await metrics.text()).toContain("noetl_server_build_info");

  const worker = Bun.spawn([await noetlBinary(), "worker"], {
    env: {
      PATH: "/usr/bin:/bin",
      ...readEnv("base/workers/worker.env"),
      ...readEnv("overlays/local/secrets/worker.env"),
      ...here,
      NOETL_POOL: "cpu-01",
      NOETL_NAME: "noetl-worker-cpu-01-0",
      NOETL_GRPC_ADDRESS: `127.0.0.1:${server.fields["grpc_port"]}`,
      NOETL_METRICS_PORT: String(workerPort),
      HOME: dir,
    },
    stdout: "ignore",
    stderr: "ignore",
  });
  stores.defer(async () => {
    worker.kill("SIGKILL");
    await worker.exited;
  });
  const file = join(dir, "playbook.yaml");
  writeFileSync(file, PLAYBOOK);
  await waitFor(
    "a worker that is ready",
    async () => (await fetch(`http://127.0.0.1:${workerPort}/readyz`)).status === 200,
  );
  const registered = await runNoetl(["register", file], { env: client });
  expect([registered.exitCode, registered.stderr]).toEqual([0, ""]);
  const run = await runNoetl(["exec", "tests/deployed", "--wait", "--json"], { env: client });
  expect([run.exitCode, run.stdout]).toEqual([0, expect.stringContaining("COMPLETED")]);

  worker.kill("SIGTERM");
  expect(await worker.exited).toBe(0);
}, 180_000);
