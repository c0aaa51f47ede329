import { expect, test } from "bun:test";
import { checkServer, checkWorker, databaseUrlOf, isLoopback } from "../../../src/config/decide.ts";
import { readOptions } from "../../../src/config/read.ts";
import { serverOptions, upOptions, workerOptions } from "../../../src/config/tables.ts";
import { createLogger } from "../../../src/observability/log.ts";

test("a flag wins over the environment, the environment over the default", () => {
  const env = { NOETL_PORT: "1234", NOETL_GRPC_PORT: "2345" };
  const values = readOptions(serverOptions, { flags: { port: "99" }, env });
  expect([values.port, values.grpcPort, values.host]).toEqual([99, 2345, "127.0.0.1"]);
});

test("all faults are reported at once, by the name that the user has written", () => {
  const read = () =>
    readOptions(
      serverOptions,
      {
        flags: { port: "http", host: "0.0.0.0" },
        env: {
          NOETL_PUBLIC_URL: "ftp://x",
          NATS_URL: "http://x",
          NOETL_LOG_LEVEL: "loud",
          NATS_PASSWORD: "p",
        },
      },
      checkServer,
    );
  expect(read).toThrow(
    [
      "The configuration has 7 faults:",
      '  --port: must be an integer from 0 to 65535, not "http"',
      '  NOETL_PUBLIC_URL: must be a URL that begins with http:// or https://, not "ftp://x"',
      "  NATS_URL: must be a URL that begins with nats:// or tls://",
      '  NOETL_LOG_LEVEL: must be one of debug, info, warn, error, not "loud"',
      "  NOETL_TOKEN: is required to listen on 0.0.0.0, where other machines can call; --insecure allows it without",
      "  NOETL_WORKER_TOKEN: is required to listen on 0.0.0.0, where other machines can call; --insecure allows it without",
      "  NATS_USER: is required with NATS_PASSWORD",
    ].join("\n"),
  );
});

test("a secret is not shown, not even when it is wrong", () => {
  const read = () =>
    readOptions(serverOptions, { flags: {}, env: { DATABASE_URL: "mysql://u:hunter2@h/d" } });
  expect(read).toThrow("DATABASE_URL: must be a URL");
  expect(read).not.toThrow("hunter2");
});

test("what is secret does not show when the options are printed, in whatever way", () => {
  const env = {
    DATABASE_URL: "postgres://u:hunter2@h/d",
    NATS_URL: "nats://u:hunter2@h",
    NATS_PASSWORD: "hunter2",
    NOETL_TOKEN: "hunter2",
    NOETL_WORKER_TOKEN: "hunter2",
    NOETL_ENCRYPTION_KEY: "hunter2",
  };
  const values = readOptions(serverOptions, { flags: {}, env });
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  for (const format of ["json", "text"] as const) {
    createLogger({ level: "info", format, component: "x", write }).info("options", { ...values });
  }
  const printed = [...lines, Bun.inspect(values), String(values.token), `${values.databaseUrl}`];
  for (const text of printed) {
    expect(text).toContain("[secret]");
    expect(text).not.toContain("hunter2");
  }
  expect(values.token?.reveal()).toBe("hunter2");
});

test("an empty variable is as good as none", () => {
  const values = readOptions(serverOptions, { flags: {}, env: { NATS_URL: "", NOETL_PORT: "" } });
  expect([values.natsUrl, values.port]).toEqual([undefined, 8082]);
});

test("repeated flags and commas both make lists", () => {
  const fromFlags = readOptions(upOptions, { flags: { pool: ["a", "b"] }, env: {} });
  const fromEnv = readOptions(upOptions, { flags: {}, env: { NOETL_POOLS: "a, b" } });
  expect(fromFlags.pool).toEqual(["a", "b"]);
  expect(fromEnv.pool).toEqual(["a", "b"]);
});

test("a worker needs a pool", () => {
  expect(() => readOptions(workerOptions, { flags: {}, env: {} }, checkWorker)).toThrow(
    "--pool: is required",
  );
});

test("POSTGRES_* make a URL, with every character of the password kept", () => {
  const env = { POSTGRES_HOST: "db", POSTGRES_PASSWORD: "a/b@c:%", POSTGRES_PORT: "6000" };
  const secret = databaseUrlOf(readOptions(serverOptions, { flags: {}, env }));
  const url = new URL(secret?.reveal() ?? "");
  expect(decodeURIComponent(url.password)).toBe("a/b@c:%");
  expect(url.host).toBe("db:6000");
  expect(databaseUrlOf(readOptions(serverOptions, { flags: {}, env: {} }))).toBeUndefined();
});

test("isLoopback() knows this machine's own addresses", () => {
  expect(["127.0.0.1", "127.9.9.9", "localhost", "::1"].every(isLoopback)).toBe(true);
  expect(["0.0.0.0", "10.0.0.1", "::", "127.example.com"].some(isLoopback)).toBe(false);
});
