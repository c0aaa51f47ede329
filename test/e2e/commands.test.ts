/** The compiled binary as a newcomer meets it: in a folder of its own, with nothing else around. */
import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { noetlBinary, runNoetl, startNoetl } from "../support/binary.ts";
import { makeScratchDir } from "../support/scratch.ts";
import { waitFor } from "../support/wait.ts";

const FIXTURES = join(import.meta.dir, "../fixtures");
const LIMIT_MS = 120_000;

beforeAll(async () => {
  await noetlBinary();
}, LIMIT_MS);

describe("noetl run", () => {
  test(
    "runs a playbook on a platform of its own, prints steps and result, and leaves nothing behind",
    async () => {
      const tmp = makeScratchDir("tmp");
      const { exitCode, stdout } = await runNoetl(
        ["run", join(FIXTURES, "hello/playbook.yaml"), "--set", "name=Ada"],
        { env: { TMPDIR: tmp } },
      );
      expect(stdout).toContain("✓ greet");
      expect(stdout).toContain("✓ shout");
      expect(stdout).toContain('"loud": "HELLO, ADA!"');
      expect(exitCode).toBe(0);
      expect(readdirSync(tmp)).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "carries DuckDB, unpacks it on first use, and keeps its files",
    async () => {
      const dir = makeScratchDir("duckdb");
      const file = join(dir, "playbook.yaml");
      const tool = {
        kind: "duckdb",
        database: "kept.duckdb",
        command: "CREATE TABLE t AS SELECT 42 AS a; FROM t",
      };
      await Bun.write(
        file,
        `apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: duck}
workflow:
  - {step: start, tool: ${JSON.stringify(tool)}}
`,
      );
      const folders = ["--files-dir", join(dir, "files"), "--cache-dir", join(dir, "cache")];
      const { exitCode, stdout } = await runNoetl(["run", file, "--json", ...folders]);
      const outcome = JSON.parse(stdout) as { result: unknown };
      expect(outcome.result).toMatchObject({ rows: [{ a: 42 }] });
      expect(exitCode).toBe(0);
      expect(existsSync(join(dir, "files/kept.duckdb"))).toBe(true);
      expect(readdirSync(join(dir, "cache")).join()).toContain("duckdb-");
    },
    LIMIT_MS,
  );

  test(
    "ends with 1 when the playbook fails, and says why",
    async () => {
      const { exitCode, stdout } = await runNoetl(["run", join(FIXTURES, "failing/playbook.yaml")]);
      expect(stdout).toContain("✗ divide");
      expect(stdout).toContain("division by zero");
      expect(exitCode).toBe(1);
    },
    LIMIT_MS,
  );

  test(
    "stopped by SIGINT it says what became of the execution, and does not pass for a success",
    async () => {
      const dir = makeScratchDir("stopped");
      const started = join(dir, "started");
      const file = join(dir, "endless.yaml");
      const command = `touch ${started}; sleep 600`;
      const tool = JSON.stringify({ kind: "shell", command });
      await Bun.write(
        file,
        `apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: endless}
workflow:
  - {step: start, tool: ${tool}}
`,
      );
      const child = Bun.spawn([await noetlBinary(), "run", file], {
        env: { PATH: "/usr/bin:/bin", TMPDIR: dir },
        stdout: "ignore",
        stderr: "pipe",
      });
      await waitFor("the task", () => existsSync(started));
      child.kill("SIGINT");
      expect(await new Response(child.stderr).text()).toContain("it ended unfinished");
      expect(await child.exited).toBe(1);
    },
    LIMIT_MS,
  );

  test(
    "refuses a document with errors, with line and column",
    async () => {
      const file = join(makeScratchDir("bad"), "bad.yaml");
      await Bun.write(file, "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: x}\n");
      const { exitCode, stderr } = await runNoetl(["run", file]);
      expect(stderr).toMatch(/line \d+, column \d+/);
      expect(exitCode).toBe(1);
    },
    LIMIT_MS,
  );
});

test(
  "noetl demo does everything it says and completes",
  async () => {
    const { exitCode, stdout } = await runNoetl(["demo", "--json"]);
    const outcome = JSON.parse(stdout) as { status: string; result: Record<string, unknown> };
    expect(outcome.status).toBe("COMPLETED");
    expect(outcome.result).toMatchObject({
      platform: "ok",
      rows_stored: 100,
      primes: { "1000": 168, "12000": 1438 },
    });
    expect(outcome.result["reads_that_failed_first"]).toMatchObject({
      error: expect.stringContaining("demo_measurement"),
    });
    expect(exitCode).toBe(0);
  },
  LIMIT_MS,
);

describe("noetl up", () => {
  test(
    "serves, refuses a second one on its folder, starts a killed worker again, stops cleanly",
    async () => {
      const dataDir = makeScratchDir("data");
      const args = ["up", "--pool", "cpu-01", "--port", "0", "--grpc-port", "0", "--data-dir"];
      await using platform = await startNoetl([...args, dataDir]);
      const env = { NOETL_SERVER_URL: platform.url };

      const health = await waitFor("all to be well", async () => {
        const { stdout, exitCode } = await runNoetl(["health", "--json"], { env });
        return exitCode === 0 && stdout;
      });
      expect(JSON.parse(health)).toMatchObject({ status: "ok", workers: [{ pool: "cpu-01" }] });

      const second = await runNoetl([...args, dataDir]);
      expect(second.stderr).toContain(`in use by noetl process ${platform.process.pid}`);
      expect(second.exitCode).toBe(2);

      const { pid: firstPid } = await newestWorker(platform.url);
      process.kill(firstPid, "SIGKILL");
      await waitFor("another worker process", async () => {
        return (await newestWorker(platform.url)).pid !== firstPid;
      });
      await runNoetl(["register", join(FIXTURES, "hello/playbook.yaml")], { env });
      const run = await runNoetl(["exec", "examples/hello", "--wait"], { env });
      expect(run.exitCode).toBe(0);
      const worker = await newestWorker(platform.url);
      expect(await counter(`${platform.url}/metrics`, "noetl_rpc_calls_total{")).toBeGreaterThan(0);
      expect(
        await counter(worker.metrics_url, "noetl_worker_claim_succeeded_total"),
      ).toBeGreaterThan(0);

      const children = childrenOf(platform.process.pid);
      expect(children.length).toBeGreaterThanOrEqual(3);
      platform.process.kill("SIGTERM");
      expect(await platform.process.exited).toBe(0);
      expect(children.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([]);
    },
    LIMIT_MS,
  );
});

/** The first sample whose line begins like this; 0 when there is none. */
async function counter(url: string, name: string): Promise<number> {
  const text = await (await fetch(url)).text();
  const line = text.split("\n").find((each) => each.startsWith(name));
  return Number(line?.split(" ").at(-1) ?? 0);
}

interface WorkerRow {
  readonly pid: number;
  readonly registered_at: string;
  readonly metrics_url: string;
}

/** Of those that the server knows and whose process is there. */
async function newestWorker(url: string): Promise<WorkerRow> {
  return await waitFor("a registered worker", async () => {
    const answer = (await (await fetch(`${url}/api/workers`)).json()) as {
      readonly workers: readonly WorkerRow[];
    };
    const alive = answer.workers.filter(({ pid }) => existsSync(`/proc/${pid}`));
    return alive.toSorted((a, b) => b.registered_at.localeCompare(a.registered_at))[0];
  });
}

function childrenOf(pid: number): readonly number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.trim().split(" ").map(Number);
}
