/**
 * Runs the conformance kit against dist/noetl on free ports: `bun .ci/conformance.ts …/run.mjs`.
 *
 * .ci/conformance.txt names the cases that must pass, one a line: ids of visible.json, or after
 * `core` playbook files of core-visible.txt. Further arguments go to the kit; with `--all` the list
 * does not matter. The last line is `N passed, N failed`.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const [kit = "", ...more] = process.argv.slice(2);
const ROOT = join(import.meta.dir, "..");
const isAll = more.includes("--all");
const kitArguments = more.filter((argument) => argument !== "--all");
const READY_MS = 60_000;

installPsql();
const dir = mkdtempSync(join(tmpdir(), "noetl-conformance-"));
chmodSync(dir, 0o711);
const tool = join(dir, "platform.log");
const platform = Bun.spawn(
  [
    ...[join(ROOT, "dist/noetl"), "up", "--pool", "default", "--slots", "16"],
    ...["--port", "0", "--grpc-port", "0", "--data-dir", join(dir, "data")],
  ],
  { cwd: dir, stdout: Bun.file(tool), stderr: Bun.file(join(dir, "platform.err")) },
);
let failed = 0;
let passed = 0;
try {
  const ports = await waitForPlatform();
  const lists = readLists();
  await runKit(ports, ["--cases", join(dirname(kit), "visible.json")], lists.cases);
  await runKit(ports, ["--set", join(dirname(kit), "core-visible.txt")], lists.core);
} finally {
  platform.kill("SIGTERM");
  await platform.exited;
  rmSync(dir, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

interface Ports {
  readonly server: string;
  readonly nats: string;
  readonly postgres: string;
}

async function waitForPlatform(): Promise<Ports> {
  const deadline = performance.now() + READY_MS;
  while (performance.now() < deadline && platform.exitCode === null) {
    const line = readFileSync(tool, "utf8").split("\n")[0] ?? "";
    if (line.includes('"listening"')) {
      const fields = JSON.parse(line) as Record<string, string>;
      return {
        server: fields["http"] ?? "",
        nats: `nats://${fields["nats"]}`,
        postgres: playbooksUrl(join(dir, "data")),
      };
    }
    await Bun.sleep(50);
  }
  throw new Error(`The platform did not start:\n${readFileSync(tool, "utf8")}`);
}

function playbooksUrl(dataDir: string): string {
  const stored = JSON.parse(readFileSync(join(dataDir, "postgres.json"), "utf8")) as {
    port: number;
    playbookPassword: string;
  };
  return `postgres://playbook:${stored.playbookPassword}@127.0.0.1:${stored.port}/playbooks`;
}

/** Undefined: all. */
function readLists(): { cases: readonly string[] | undefined; core: readonly string[] | undefined } {
  if (isAll) {
    return { cases: undefined, core: undefined };
  }
  const lines = readFileSync(join(import.meta.dir, "conformance.txt"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  return {
    cases: lines.filter((line) => !line.startsWith("core ")),
    core: lines.filter((line) => line.startsWith("core ")).map((line) => line.slice(5)),
  };
}

async function runKit(
  ports: Ports,
  set: readonly string[],
  ids: readonly string[] | undefined,
): Promise<void> {
  if (ids?.length === 0) {
    return;
  }
  const only = ids === undefined ? [] : ["--only", `^(${ids.map(escape).join("|")})$`];
  const child = Bun.spawn(
    [
      ...["bun", kit, "--server", ports.server, "--pg", ports.postgres, "--nats", ports.nats],
      ...[...set, ...only, ...kitArguments],
    ],
    { stdout: "pipe", stderr: "inherit" },
  );
  const output = await new Response(child.stdout).text();
  process.stdout.write(output.replace(/^\d+ passed, \d+ failed$/m, ""));
  const counts = /^(\d+) passed, (\d+) failed/m.exec(output);
  passed += Number(counts?.[1] ?? 0);
  failed += Number(counts?.[2] ?? 1);
}

function escape(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** The kit's SQL checks use the command line client. */
function installPsql(): void {
  if (Bun.which("psql") === null && process.getuid?.() === 0) {
    Bun.spawnSync(["apt-get", "install", "-y", "-q", "--no-install-recommends", "postgresql-client"], {
      stdout: "ignore",
      stderr: "inherit",
    });
  }
}
