/**
 * `bun run build`: makes dist/noetl, one program that needs neither Bun nor Node nor PostgreSQL nor
 * DuckDB, and no nats-server if one is installed here now: all are packed in and unpacked on first use.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BunPlugin } from "bun";
import {
  copyPostgres,
  duckdbPackage,
  installedNatsServer,
  packageVersion,
  postgresPackage,
} from "../src/embedded/programs.ts";

const ROOT = join(import.meta.dir, "..");
const PACKED = join(ROOT, ".cache/packed");
/** Packing PostgreSQL takes seconds at this level and is done once for each version. */
const ZSTD_LEVEL = 15;

const startedAtMs = performance.now();
mkdirSync(PACKED, { recursive: true });
const postgres = await packPostgres();
const nats = await packNats();
const duckdb = await packDuckdb();
const outfile = join(ROOT, "dist/noetl");
const result = await Bun.build({
  entrypoints: [join(ROOT, "src/main.ts")],
  compile: { outfile, autoloadDotenv: false, autoloadBunfig: false },
  target: "bun",
  minify: true,
  // Compiled ahead: `noetl --version` takes 50 ms in place of 170, for 14 MB. Needs esm.
  format: "esm",
  bytecode: true,
  sourcemap: "inline",
  define: { BUILD_COMMIT: JSON.stringify(commit()) },
  plugins: [payloadPlugin({ postgres, nats, duckdb }), duckdbPlugin()],
});
for (const log of result.logs) {
  console.error(log);
}
if (!result.success) {
  process.exit(1);
}
const megabytes = Math.round(Bun.file(outfile).size / 2 ** 20);
const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
const without = nats === undefined ? ", without nats-server: none is installed here" : "";
console.error(`dist/noetl: ${megabytes} MB in ${seconds} s${without}`);

async function packPostgres(): Promise<string> {
  const packageDir = postgresPackage();
  const file = join(PACKED, `postgres-${packageVersion(packageDir)}-${process.arch}.tar.zst`);
  if (!existsSync(file)) {
    const dir = mkdtempSync(join(tmpdir(), "noetl-build-"));
    try {
      copyPostgres(packageDir, dir);
      await packFolder(dir, ["."], file);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }
  return file;
}

async function packDuckdb(): Promise<string> {
  const packageDir = duckdbPackage();
  const file = join(PACKED, `duckdb-${packageVersion(packageDir)}-${process.arch}.tar.zst`);
  if (!existsSync(file)) {
    await packFolder(packageDir, ["duckdb.node", "libduckdb.so"], file);
  }
  return file;
}

/** The same bytes for the same content, whoever builds. */
async function packFolder(dir: string, names: readonly string[], file: string): Promise<void> {
  const tar = Bun.spawn(
    ["tar", "-cf", "-", "--sort=name", "--owner=0", "--group=0", "--mtime=@0", "-C", dir, ...names],
    { stdout: "pipe", stderr: "inherit" },
  );
  await Bun.write(file, await compress(await new Response(tar.stdout).bytes()));
}

async function packNats(): Promise<string | undefined> {
  const program = installedNatsServer();
  if (program === undefined) {
    return undefined;
  }
  const bytes = await Bun.file(program).bytes();
  const file = join(PACKED, `nats-server-${hash(bytes)}.zst`);
  if (!existsSync(file)) {
    await Bun.write(file, await compress(bytes));
  }
  return file;
}

async function compress(bytes: Uint8Array): Promise<Uint8Array> {
  return await Bun.zstdCompress(new Uint8Array(bytes), { level: ZSTD_LEVEL });
}

interface Payload {
  readonly postgres: string;
  readonly nats: string | undefined;
  readonly duckdb: string;
}

/**
 * Puts a loader of the unpacked module (src/tools/duckdb/library.ts says where it is) in place of
 * the package that looks for it in node_modules.
 */
function duckdbPlugin(): BunPlugin {
  return {
    name: "duckdb",
    setup(build) {
      build.onLoad({ filter: /node_modules\/@duckdb\/node-bindings\/duckdb\.js$/ }, () => ({
        loader: "js",
        contents: `module.exports = require(globalThis[Symbol.for("noetl.duckdb.library")]);`,
      }));
    },
  };
}

/** Puts the files in place of src/embedded/payload.ts. */
function payloadPlugin({ postgres, nats, duckdb }: Payload): BunPlugin {
  return {
    name: "payload",
    setup(build) {
      build.onLoad({ filter: /src\/embedded\/payload\.ts$/ }, async () => {
        const version = hash(await Bun.file(postgres).bytes());
        const natsVersion = nats === undefined ? "none" : /-(\w+)\.zst$/.exec(nats)?.[1];
        const duckdbVersion = hash(await Bun.file(duckdb).bytes());
        return {
          loader: "ts",
          contents: [
            `import postgres from ${JSON.stringify(postgres)} with { type: "file" };`,
            `import duckdb from ${JSON.stringify(duckdb)} with { type: "file" };`,
            nats === undefined
              ? "const nats = undefined;"
              : `import nats from ${JSON.stringify(nats)} with { type: "file" };`,
            "export const postgresTar = postgres;",
            "export const natsProgram = nats;",
            "export const duckdbTar = duckdb;",
            `export const duckdbVersion = ${JSON.stringify(duckdbVersion)};`,
            `export const payloadVersion = ${JSON.stringify(`${version}-${natsVersion}`)};`,
          ].join("\n"),
        };
      });
    },
  };
}

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 12);
}

/** An image is built from a copy without git and is told; `unknown` where nobody says it. */
function commit(): string {
  const told = process.env["NOETL_COMMIT"];
  if (told !== undefined && told !== "") {
    return told;
  }
  if (Bun.which("git") === null) {
    return "unknown";
  }
  const git = Bun.spawnSync(["git", "rev-parse", "--short=12", "HEAD"], { cwd: ROOT, stderr: "ignore" });
  return git.success ? git.stdout.toString().trim() : "unknown";
}
