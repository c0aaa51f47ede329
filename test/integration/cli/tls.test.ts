/** Servers with TLS and with mutual TLS, workers and commands that talk to them: real processes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { findFreePort } from "../../../src/embedded/free-port.ts";
import { createAuthority } from "../../support/certificate.ts";
import { startNats } from "../../support/nats.ts";
import { createTestDatabase } from "../../support/postgres.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import { createCli } from "./context.ts";

const MAIN = join(import.meta.dir, "../../../src/main.ts");
const LIMIT_MS = 90_000;
const PLAYBOOK = `apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: secure, path: tests/secure}
workflow:
  - step: start
    tool: {kind: noop, result: {done: true}}
`;

const ours = createAuthority("ours");
const others = createAuthority("others");
const host = ours.issue("server");
const guest = ours.issue("worker");
const stranger = others.issue("stranger");

type Variables = Readonly<Record<string, string>>;

const stack = new AsyncDisposableStack();
let plain: { readonly url: string; readonly grpc: string };
let mutual: typeof plain;
let common: Variables;

function start(args: readonly string[], env: Variables) {
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    cwd: "/",
    env: { PATH: "/usr/bin:/bin", NOETL_LOG_FORMAT: "json", ...common, ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  let text = "";
  const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      text += decoder.decode(chunk, { stream: true });
    }
  };
  const reading = Promise.all([read(child.stdout), read(child.stderr)]);
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
    await reading;
  };
  return { child, reading, output: () => text, [Symbol.asyncDispose]: stop };
}

async function startServer(database: string, env: Variables): Promise<typeof plain> {
  const [port, grpcPort] = [await findFreePort(), await findFreePort()];
  const args = ["server", "--port", `${port}`, "--grpc-port", `${grpcPort}`];
  const files = { NOETL_TLS_CERT: host.certificate, NOETL_TLS_KEY: host.key };
  const server = stack.use(start(args, { DATABASE_URL: database, ...files, ...env }));
  await waitFor(
    "the server",
    () => {
      if (server.child.exitCode !== null) {
        throw new Error(server.output());
      }
      return server.output().includes('"listening"');
    },
    { deadlineMs: LIMIT_MS },
  );
  return { url: `https://localhost:${port}`, grpc: `localhost:${grpcPort}` };
}

async function startWorker(address: string, env: Variables) {
  const metrics = await findFreePort();
  const args = ["worker", "--pool", "default", "--server", address, "--metrics-port", `${metrics}`];
  return {
    ...start(args, env),
    isReady: async () => (await fetch(`http://127.0.0.1:${metrics}/readyz`)).ok,
  };
}

beforeAll(async () => {
  const database = stack.use(await createTestDatabase());
  const nats = stack.use(await startNats());
  common = { NATS_URL: nats.url, NOETL_DATA_DIR: makeScratchDir("tls") };
  plain = await startServer(database.url, {});
  mutual = await startServer(database.url, { NOETL_TLS_CLIENT_CA: ours.file });
}, LIMIT_MS);

afterAll(async () => {
  await stack.disposeAsync();
});

/** What a worker says of the server that it cannot use. */
async function complaint(address: string, env: Variables): Promise<string> {
  await using worker = await startWorker(address, env);
  const said = await waitFor("its complaint", () =>
    worker
      .output()
      .split("\n")
      .find((line) => line.includes("Cannot register yet")),
  );
  return String((JSON.parse(said) as { error: unknown }).error);
}

describe("a worker", () => {
  test(
    "works for a server with TLS, started over HTTPS by a command",
    async () => {
      await using worker = await startWorker(`tls://${plain.grpc}`, {
        NOETL_GRPC_CA_FILE: ours.file,
      });
      await waitFor("the worker", worker.isReady, { deadlineMs: LIMIT_MS });
      const file = join(makeScratchDir("playbook"), "secure.yaml");
      await Bun.write(file, PLAYBOOK);
      const { run } = createCli({ NOETL_CA_FILE: ours.file, NOETL_SERVER_URL: plain.url });
      const ran = await run("run", file, "--json");
      expect([ran.reason, ran.notes]).toEqual(["ok", ""]);
      expect(JSON.parse(ran.out)).toMatchObject({ status: "COMPLETED" });
    },
    LIMIT_MS,
  );

  test(
    "works for a server with mutual TLS when it shows a certificate",
    async () => {
      await using worker = await startWorker(`tls://${mutual.grpc}`, {
        NOETL_GRPC_CA_FILE: ours.file,
        NOETL_TLS_CERT: guest.certificate,
        NOETL_TLS_KEY: guest.key,
      });
      expect(await waitFor("the worker", worker.isReady, { deadlineMs: LIMIT_MS })).toBe(true);
    },
    LIMIT_MS,
  );

  test.each([
    ["none", {}],
    [
      "one of an authority that the server does not know",
      { NOETL_TLS_CERT: stranger.certificate, NOETL_TLS_KEY: stranger.key },
    ],
  ])(
    "is refused by mutual TLS with %s, and told so",
    async (_name, env) => {
      const said = await complaint(`tls://${mutual.grpc}`, {
        NOETL_GRPC_CA_FILE: ours.file,
        ...env,
      });
      expect(said).toContain("NOETL_TLS_CERT and NOETL_TLS_KEY");
    },
    LIMIT_MS,
  );

  test(
    "refuses a server of an authority that it does not know, and one that it calls without TLS",
    async () => {
      const address = `tls://${plain.grpc}`;
      expect(await complaint(address, { NOETL_GRPC_CA_FILE: others.file })).toContain(
        "name the authority's file with NOETL_GRPC_CA_FILE",
      );
      expect(await complaint(address, {})).toContain("NOETL_GRPC_CA_FILE");
      expect(await complaint(plain.grpc, {})).toContain("wants tls:// before its address");
    },
    LIMIT_MS,
  );
});

describe("commands", () => {
  test("trust the authority that a flag, a variable or the context names, and no other", async () => {
    const { run } = createCli();
    const server = ["--server-url", plain.url];
    const trusted = await run("list", ...server, "--ca-file", ours.file, "--json");
    expect([trusted.reason, trusted.notes]).toEqual(["ok", ""]);
    for (const authority of [["--ca-file", others.file], []]) {
      const refused = await run("list", ...server, ...authority);
      expect(refused.reason).toBe("unreachable");
      expect(refused.notes).toContain(`The certificate of ${plain.url} is not accepted`);
      expect(refused.notes).toContain("--ca-file or NOETL_CA_FILE");
    }
    await run("context", "add", "here", ...server, "--ca-file", ours.file);
    expect((await run("list")).reason).toBe("ok");
    const missing = await run("list", ...server, "--ca-file", "/nowhere.pem");
    expect(missing.reason).toBe("usage");
    expect(missing.notes).toContain("NOETL_CA_FILE: cannot read /nowhere.pem");
  });

  test(
    "health checks both, with a certificate where one is asked for",
    async () => {
      const env = {
        NOETL_SERVER_URL: mutual.url,
        NOETL_CA_FILE: ours.file,
        NOETL_GRPC_ADDRESS: `tls://${mutual.grpc}`,
        NOETL_GRPC_CA_FILE: ours.file,
      };
      const check = ["health", "--component", "grpc", "--component", "server"];
      const refused = await createCli(env).run(...check);
      expect(refused.out.replace(/\s+/g, " ")).toContain("NOETL_TLS_CERT and NOETL_TLS_KEY");
      const shown = { NOETL_TLS_CERT: guest.certificate, NOETL_TLS_KEY: guest.key };
      const passed = await createCli({ ...env, ...shown }).run(...check);
      expect(passed.out).toContain(`Serves workers at ${mutual.grpc} (TLS)`);
      expect(passed.reason).toBe("ok");
    },
    LIMIT_MS,
  );
});

describe("settings", () => {
  const { certificate, key } = host;
  test.each([
    [{ NOETL_TLS_CERT: certificate }, "NOETL_TLS_KEY: is required with NOETL_TLS_CERT"],
    [{ NOETL_TLS_KEY: key }, "NOETL_TLS_CERT: is required with NOETL_TLS_KEY"],
    [{ NOETL_TLS_CLIENT_CA: ours.file }, "NOETL_TLS_CERT: is required with NOETL_TLS_CLIENT_CA"],
    [
      { NOETL_TLS_CERT: "/nowhere.pem", NOETL_TLS_KEY: key },
      "NOETL_TLS_CERT: cannot read /nowhere.pem",
    ],
    [
      { NOETL_TLS_CERT: certificate, NOETL_TLS_KEY: guest.key },
      `NOETL_TLS_KEY: ${guest.key} is not the key of the certificate in ${certificate}`,
    ],
    [
      { NOETL_TLS_CERT: key, NOETL_TLS_KEY: certificate },
      `NOETL_TLS_CERT: ${key} has no certificate in PEM`,
    ],
    [
      { NOETL_TLS_CERT: certificate, NOETL_TLS_KEY: certificate },
      `NOETL_TLS_KEY: ${certificate} has no private key in PEM without a passphrase`,
    ],
    [
      { NOETL_TLS_CERT: certificate, NOETL_TLS_KEY: key, NOETL_TLS_CLIENT_CA: key },
      `NOETL_TLS_CLIENT_CA: ${key} has no certificate in PEM`,
    ],
  ])("of a server that cannot work are named: %j", async (env, message) => {
    const ran = await createCli({ ...env, DATABASE_URL: "postgres://127.0.0.1:1/none" }).run(
      "server",
    );
    expect([ran.reason, ran.notes]).toEqual(["usage", expect.stringContaining(message)]);
  });

  test.each([
    [
      "127.0.0.1:1",
      { NOETL_GRPC_CA_FILE: ours.file },
      "NOETL_GRPC_CA_FILE: is for tls:// addresses",
    ],
    ["tls://127.0.0.1:1", {}, "NOETL_GRPC_ADDRESS: must have the name"],
    [
      "tls://localhost:1",
      { NOETL_GRPC_CA_FILE: "/nowhere.pem" },
      "NOETL_GRPC_CA_FILE: cannot read /nowhere.pem",
    ],
    [
      "tls://localhost:1",
      { NOETL_TLS_CERT: guest.certificate },
      "NOETL_TLS_KEY: is required with NOETL_TLS_CERT",
    ],
  ])("of a worker that cannot work are named: %s %j", async (address, env, message) => {
    const ran = await createCli(env).run("worker", "--pool", "default", "--server", address);
    expect([ran.reason, ran.notes]).toEqual(["usage", expect.stringContaining(message)]);
  });
});
