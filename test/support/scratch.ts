/** Folders of this test run: below one folder named after the process, removed at its end. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stopStale, usesFolder } from "../../src/embedded/child.ts";

const PREFIX = "noetl-test-";
const ROOT = join(tmpdir(), `${PREFIX}${process.pid}`);

/** A new, empty folder that every user may enter; gone when the run ends. */
export function makeScratchDir(name: string): string {
  if (!existsSync(ROOT)) {
    mkdirSync(ROOT, { mode: 0o755 });
    afterRun(() => {
      rmSync(ROOT, { recursive: true, force: true });
    });
  }
  const dir = mkdtempSync(join(ROOT, `${name}-`));
  chmodSync(dir, 0o755);
  return dir;
}

const cleanups: (() => Promise<void> | void)[] = [];

/** Called once, when all test files are done; the latest registered first. */
export function afterRun(cleanup: () => Promise<void> | void): void {
  cleanups.unshift(cleanup);
}

/** Registered by setup.ts. */
export async function runCleanups(): Promise<void> {
  for (const cleanup of cleanups.splice(0)) {
    await cleanup();
  }
}

/** Ends the servers and removes the folders of test runs that were killed. */
export async function reapDeadRuns(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    const pid = name.startsWith(PREFIX) ? Number(name.slice(PREFIX.length)) : Number.NaN;
    if (Number.isInteger(pid) && !existsSync(`/proc/${pid}`)) {
      await reap(join(tmpdir(), name));
    }
  }
}

/** Another run may be at it, too: what it has removed need not be read any more. */
async function reap(dir: string): Promise<void> {
  try {
    await stopServersOf(dir);
    rmSync(dir, { recursive: true, force: true });
  } catch (error) {
    if (existsSync(dir)) {
      throw error;
    }
  }
}

async function stopServersOf(dir: string): Promise<void> {
  const pidFiles = new Bun.Glob("**/{postmaster,nats-server}.pid");
  for (const file of pidFiles.scanSync({ cwd: dir, dot: true })) {
    const pid = Number(readFileSync(join(dir, file), "utf8").split("\n")[0]);
    if (pid > 0) {
      await stopStale(pid, (candidate) => usesFolder(candidate, join(dir, file, "..")), "SIGQUIT");
    }
  }
}
