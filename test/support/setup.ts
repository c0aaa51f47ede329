/**
 * Preloaded by every `bun test`, see bunfig.toml. Stops at the end what the test files have started;
 * in a checkout without packages, installs them first and then runs the tests in a new process,
 * because this one has already looked for them in vain.
 */
import { afterAll } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { runCleanups } from "./scratch.ts";

const ROOT = join(import.meta.dir, "../..");

if (!existsSync(join(ROOT, "node_modules/.noetl-lock"))) {
  const setup = Bun.spawnSync(["sh", join(ROOT, ".ci/setup")], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const again = setup.success ? runAgain() : setup;
  process.exit(again.exitCode);
}

/** Bun shows a test file nothing of its own command line, so the kernel is asked. */
function runAgain(): Bun.SyncSubprocess<"inherit", "inherit"> {
  const args = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(1, -1);
  return Bun.spawnSync([process.execPath, ...args], {
    stdio: ["inherit", "inherit", "inherit"],
  });
}

/** Runtimes of containers take their time to end on a busy machine. */
const CLEANUP_MS = 60_000;

afterAll(async () => {
  await runCleanups();
}, CLEANUP_MS);
