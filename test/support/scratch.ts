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
import { removeMounts } from "./mounts.ts";

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
    stopContainersOf(dir);
    rmSync(dir, { recursive: true, force: true });
  } catch (error) {
    if (existsSync(dir)) {
      throw error;
    }
  }
}

/**
 * Ends what runs below the folder: dockerd, containerd, the monitors of containers, which all name it, and the
 * containers, which are children of the monitors.
 */
function stopContainersOf(dir: string): void {
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const monitors = all.map(Number).filter((pid) => usesFolder(pid, dir));
  const containers = all.map(Number).filter((pid) => monitors.includes(parentOf(pid)));
  for (const pid of new Set([...containers, ...monitors])) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Gone in between.
    }
  }
  removeMounts(dir);
}

function parentOf(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    // Gone in between.
    return 0;
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
