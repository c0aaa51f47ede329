/**
 * What a container's task is given and what it leaves: a folder on the worker's machine, mounted as `/noetl`.
 *
 * It exists before its container and goes after it, so where there is no folder there is no container. Its
 * parent is closed to other users; the mounted part is open, because nobody knows the task's user.
 */
import { constants } from "node:fs";
import {
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rm,
  stat,
  statfs,
  writeFile,
} from "node:fs/promises";
import { dirname, join, normalize, relative } from "node:path";
import type { CollectedArtifact } from "./runtime.ts";
import { ContainerError } from "./runtime.ts";

export interface TaskFolder {
  readonly dir: string;
  readonly mountDir: string;
  readonly logFile: string;
  readonly envFile: string;
  readonly pidFile: string;
  /** Podman's monitor makes it in the folder that its container was started from, when memory ran out. */
  readonly oomFile: string;
}

/** Whose a folder is, for those whose container is gone. */
export interface FolderOwner {
  readonly platformId: string;
  readonly image: string;
}

/** What a task left. */
export interface Collected {
  readonly result?: Uint8Array;
  readonly artifacts: readonly CollectedArtifact[];
  /** Why something below `artifacts` is not among them, or not whole, a sentence each. */
  readonly skipped: readonly string[];
}

const ARTIFACT_COUNT_MAX = 100_000;
const CHUNK_BYTES = 256 * 1024;
/** With less a disk is full. */
const FREE_BYTES_MIN = 64 * 1024;
const FILE_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export function taskFolder(root: string, name: string): TaskFolder {
  const dir = join(root, name);
  return {
    dir,
    mountDir: join(dir, "noetl"),
    logFile: join(dir, "output.log"),
    envFile: join(dir, "env"),
    pidFile: join(dir, "pid"),
    oomFile: join(dir, "oom"),
  };
}

/** True: made; false: there is one already, so there may be a container. */
export async function makeTaskFolder({ dir }: TaskFolder): Promise<boolean> {
  await mkdir(dirname(dir), { recursive: true, mode: 0o700 });
  try {
    await mkdir(dir, { mode: 0o700 });
    return true;
  } catch (error) {
    if (isCode(error, "EEXIST")) {
      return false;
    }
    throw error;
  }
}

export async function fillTaskFolder(
  folder: TaskFolder,
  owner: FolderOwner,
  files: Readonly<Record<string, Uint8Array>>,
): Promise<void> {
  await writeFile(join(folder.dir, "owner.json"), JSON.stringify(owner), { mode: 0o600 });
  await makeOpenDir(folder.mountDir);
  await makeOpenDir(join(folder.mountDir, "artifacts"));
  const made = new Set([folder.mountDir]);
  for (const [path, bytes] of Object.entries(files)) {
    const target = join(folder.mountDir, checkedPath(path));
    await makeDirsAbove(target, folder.mountDir, made);
    await writeFile(target, bytes);
    // A script may be run, by whoever the task is.
    await chmod(target, 0o755);
  }
}

/** @throws ContainerError for a path that leads out of the folder. */
function checkedPath(path: string): string {
  const clean = normalize(path);
  if (clean.startsWith("/") || clean.startsWith("..") || clean === "." || path.includes("\0")) {
    throw new ContainerError(
      "client_error",
      "FILE_PATH_INVALID",
      `"${path}" is no path below /noetl`,
      false,
    );
  }
  return clean;
}

async function makeDirsAbove(target: string, root: string, made: Set<string>): Promise<void> {
  const dir = dirname(target);
  if (made.has(dir)) {
    return;
  }
  await makeDirsAbove(dir, root, made);
  await makeOpenDir(dir);
  made.add(dir);
}

async function makeOpenDir(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  await chmod(dir, 0o777);
}

/** @throws what the file system says, for example when a file belongs to another user. */
export async function collectTaskFolder(
  { mountDir }: TaskFolder,
  resultBytesMax: number,
): Promise<Collected> {
  const result = await readResult(join(mountDir, "result.json"), resultBytesMax);
  const artifacts: CollectedArtifact[] = [];
  const skipped: string[] = (await isDiskFull(mountDir)) ? [fullDisk(mountDir)] : [];
  const root = join(mountDir, "artifacts");
  const entry = await lstat(root).catch(missing);
  if (entry?.isDirectory()) {
    await walk(root, { mountDir: await realpath(mountDir), root, artifacts, skipped });
  }
  return { ...(result === undefined ? {} : { result }), artifacts, skipped };
}

async function isDiskFull(dir: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize < FREE_BYTES_MIN;
}

function fullDisk(dir: string): string {
  return `the disk with ${dir} is full (NOETL_CONTAINER_DIR): what the task has written, its output too, may be cut off`;
}

async function readResult(path: string, bytesMax: number): Promise<Uint8Array | undefined> {
  const entry = await lstat(path).catch(missing);
  if (entry === undefined) {
    return undefined;
  }
  if (!entry.isFile()) {
    throw new ContainerError(
      "schema",
      "RESULT_NOT_A_FILE",
      "/noetl/result.json is no regular file",
      false,
    );
  }
  if (entry.size > bytesMax) {
    throw new ContainerError(
      "limit",
      "RESULT_TOO_LARGE",
      `/noetl/result.json has ${entry.size} bytes, the limit is ${bytesMax}: write large results to /noetl/artifacts`,
      false,
    );
  }
  const file = await open(path, FILE_FLAGS);
  try {
    return await file.readFile();
  } finally {
    await file.close();
  }
}

interface Walk {
  readonly mountDir: string;
  readonly root: string;
  readonly artifacts: CollectedArtifact[];
  readonly skipped: string[];
}

async function walk(dir: string, state: Walk): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(dir, entry.name);
    if ((await lstat(path).catch(missing)) === undefined) {
      // Nothing runs here any more, so it is there, and this is not its name.
      state.skipped.push(`artifacts/${relative(state.root, path)} has a name that is no UTF-8`);
    } else if (entry.isDirectory()) {
      await walk(path, state);
    } else {
      await collect(path, state);
    }
    if (state.artifacts.length > ARTIFACT_COUNT_MAX) {
      throw new ContainerError(
        "limit",
        "ARTIFACTS_TOO_MANY",
        `There are more than ${ARTIFACT_COUNT_MAX} files below /noetl/artifacts: pack them`,
        false,
      );
    }
  }
}

async function collect(path: string, { mountDir, root, artifacts, skipped }: Walk): Promise<void> {
  const name = relative(root, path);
  const entry = await lstat(path);
  const real = entry.isSymbolicLink() ? await resolveLink(path, mountDir) : path;
  const target = real === undefined ? undefined : await lstat(real);
  if (real === undefined) {
    skipped.push(`artifacts/${name} is a link that leads to no file below /noetl`);
  } else if (!target?.isFile()) {
    skipped.push(`artifacts/${name} is no regular file`);
  } else {
    artifacts.push({ path: name, size: target.size, open: () => readBytes(real) });
  }
}

/** Where a link leads to as the container sees it; undefined: out of the folder, or nowhere. */
async function resolveLink(path: string, mountDir: string): Promise<string | undefined> {
  const target = await readlink(path);
  const there = target.startsWith("/")
    ? join(mountDir, relative("/noetl", normalize(target)))
    : join(dirname(path), target);
  const real = await realpath(there).catch(() => undefined);
  return real?.startsWith(`${mountDir}/`) === true ? real : undefined;
}

async function* readBytes(path: string): AsyncGenerator<Uint8Array> {
  const file = await open(path, FILE_FLAGS);
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES));
      if (bytesRead === 0) {
        return;
      }
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** Notes that the container's end is our own doing. */
export async function markStopped({ dir }: TaskFolder): Promise<void> {
  await writeFile(join(dir, "stopped"), "").catch(missing);
}

/** What the folder says of its container's end. */
export async function readEndMarks({ dir, oomFile }: TaskFolder): Promise<EndMarks> {
  const [stopped, oom] = await Promise.all(
    [join(dir, "stopped"), oomFile].map((path) => stat(path).catch(missing)),
  );
  return { isStopped: stopped !== undefined, isOom: oom !== undefined };
}

/** Of the container's first process, where the runtime has written it; 0: not known. */
export async function readPid({ pidFile }: TaskFolder): Promise<number> {
  return Number((await readFile(pidFile, "utf8").catch(missing)) ?? 0) || 0;
}

export interface EndMarks {
  /** By us. */
  readonly isStopped: boolean;
  /** Podman's monitor saw that memory ran out. */
  readonly isOom: boolean;
}

export async function readFolderOwner({ dir }: TaskFolder): Promise<FolderOwner | undefined> {
  const text = await readFile(join(dir, "owner.json"), "utf8").catch(missing);
  try {
    return text === undefined ? undefined : (JSON.parse(text) as FolderOwner);
  } catch {
    // Its worker died while it wrote that.
    return undefined;
  }
}

export async function removeTaskFolder({ dir }: TaskFolder): Promise<void> {
  await rm(dir, { recursive: true, force: true });
}

/** Folders that were made longer ago than `ageMs`. */
export async function listOldFolders(root: string, ageMs: number): Promise<readonly string[]> {
  const names = (await readdir(root).catch(missing)) ?? [];
  const old: string[] = [];
  for (const name of names) {
    const entry = await lstat(join(root, name)).catch(missing);
    if (entry?.isDirectory() && Date.now() - entry.mtimeMs > ageMs) {
      old.push(name);
    }
  }
  return old;
}

/** True for what another user's files cause. */
export function isForeign(error: unknown): boolean {
  return isCode(error, "EACCES") || isCode(error, "EPERM") || isCode(error, "ENOTEMPTY");
}

function missing(error: unknown): undefined {
  if (isCode(error, "ENOENT") || isCode(error, "ENOTDIR")) {
    return undefined;
  }
  throw error;
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
