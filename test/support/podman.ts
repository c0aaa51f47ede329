/** Real podman with a storage of its own. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { IMAGE_CHANGES, imageArchive, TEST_IMAGE } from "./container-image.ts";
import type { TestRuntime } from "./container-runtime.ts";
import { createTestRuntime, whyNoContainers } from "./container-runtime.ts";
import { removeMounts } from "./mounts.ts";
import { afterRun, makeScratchDir, reapDeadRuns } from "./scratch.ts";

/** Why tests with podman are skipped; undefined: they run. */
export const noPodman = whyNoContainers([
  ...["podman", "conmon", "runc", "catatonit", "busybox", "tar", "unshare"],
]);

/** The limits that it would set by default are above what a container may have on some machines. */
const CONTAINERS_CONF = `[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
`;

let shared: Promise<TestRuntime> | undefined;

/** One for the whole test process. */
export function sharedPodman(): Promise<TestRuntime> {
  shared ??= startShared();
  return shared;
}

async function startShared(): Promise<TestRuntime> {
  await reapDeadRuns();
  const podman = startPodman();
  afterRun(async () => await podman[Symbol.asyncDispose]());
  return podman;
}

export function startPodman(): TestRuntime {
  if (noPodman !== undefined) {
    throw new Error(`Podman cannot be used: ${noPodman}`);
  }
  const dir = makeScratchDir("podman");
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: dir,
    CONTAINERS_CONF: join(dir, "containers.conf"),
    CONTAINERS_STORAGE_CONF: join(dir, "storage.conf"),
    CONTAINERS_REGISTRIES_CONF: join(dir, "registries.conf"),
  };
  writeFileSync(env.CONTAINERS_REGISTRIES_CONF, "");
  writeFileSync(env.CONTAINERS_CONF, CONTAINERS_CONF);
  const podman = createTestRuntime({ name: "podman", env, image: TEST_IMAGE, dir }, () => {
    stopPodman(dir, env);
    removeMounts(dir);
  });
  importImage(podman, env.CONTAINERS_STORAGE_CONF);
  return podman;
}

/** Where the disk is an overlay itself only copies work. */
function importImage(podman: TestRuntime, storageConf: string): void {
  const words = ["import", ...IMAGE_CHANGES, imageArchive(), TEST_IMAGE] as const;
  try {
    writeStorageConf(podman.dir, storageConf, "overlay");
    podman.call(...words);
    podman.call("run", "--rm", "--network=none", TEST_IMAGE, "true");
  } catch {
    writeStorageConf(podman.dir, storageConf, "vfs");
    podman.call(...words);
  }
}

function writeStorageConf(dir: string, path: string, driver: string): void {
  const root = join(dir, driver);
  mkdirSync(root, { recursive: true });
  const places = `graphroot = "${root}/graph"\nrunroot = "${root}/run"\n`;
  writeFileSync(path, `[storage]\ndriver = "${driver}"\n${places}`);
}

function stopPodman(dir: string, env: Readonly<Record<string, string>>): void {
  Bun.spawnSync(["podman", "rm", "--all", "--force", "--time=0", "--volumes"], {
    env: { ...env },
    cwd: dir,
  });
}

/** Makes it take a registry without a certificate, as docker does on loopback addresses. */
export function trustRegistry({ env }: TestRuntime, host: string): void {
  const path = env["CONTAINERS_REGISTRIES_CONF"];
  if (path !== undefined) {
    writeFileSync(path, `[[registry]]\nlocation = "${host}"\ninsecure = true\n`);
  }
}
