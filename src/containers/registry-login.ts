/** Gives a registry's login to one pull. It lies in memory where the machine has such a folder, and goes with the pull. */
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { CliEnvironment } from "./cli-process.ts";
import type { Dialect } from "./dialect.ts";
import { treeOf } from "./inspection.ts";
import { processIdentity, processState } from "./process-identity.ts";
import type { RegistryLogin } from "./runtime.ts";

export interface LoginFiles {
  readonly flags: readonly string[];
  readonly env: CliEnvironment;
  remove(): Promise<void>;
}

const PREFIX = "noetl-login-";
const HUB_NAMES: ReadonlySet<string> = new Set([
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
  "hub.docker.com",
]);

export const NO_LOGIN: LoginFiles = { flags: [], env: {}, remove: () => Promise.resolve() };

/** @param fallbackDir used where the machine has no folder in memory. */
export async function writeLogin(
  login: RegistryLogin,
  image: string,
  options: {
    readonly dialect: Dialect;
    readonly env: CliEnvironment;
    readonly fallbackDir: string;
  },
): Promise<LoginFiles> {
  const parent = loginParent(options.fallbackDir);
  await mkdir(parent, { recursive: true, mode: 0o700 });
  await removeStaleLogins(parent);
  const dir = await mkdtemp(join(parent, `${PREFIX}${processIdentity()}-`));
  const remove = async (): Promise<void> => await rm(dir, { recursive: true, force: true });
  try {
    await fill(dir, login, image, options);
  } catch (error) {
    await remove();
    throw error;
  }
  const { flags, env } = options.dialect.login;
  return { flags: flags(dir), env: env(dir), remove };
}

function loginParent(fallbackDir: string): string {
  return existsSync("/dev/shm") ? "/dev/shm" : fallbackDir;
}

async function fill(
  dir: string,
  { server, username, password }: RegistryLogin,
  image: string,
  { dialect, env }: { readonly dialect: Dialect; readonly env: CliEnvironment },
): Promise<void> {
  const registry = server ?? registryOf(image);
  const host = registry.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  const key = HUB_NAMES.has(host) ? dialect.login.hub : host;
  const auth = Buffer.from(`${username}:${password}`).toString("base64");
  const base = dialect.login.isConfig ? await copyUserConfig(dir, key, env) : {};
  const config = { ...base, auths: { ...treeOf(base["auths"]), [key]: { auth } } };
  await writeFile(join(dir, dialect.login.file), JSON.stringify(config), { mode: 0o600 });
}

/** Without the stores of logins, which would win, and with the contexts, which say where the daemon is. */
async function copyUserConfig(
  dir: string,
  key: string,
  env: CliEnvironment,
): Promise<Readonly<Record<string, unknown>>> {
  const userDir = env["DOCKER_CONFIG"] ?? join(env["HOME"] ?? "/", ".docker");
  if (existsSync(join(userDir, "contexts"))) {
    await symlink(join(userDir, "contexts"), join(dir, "contexts"));
  }
  const text = await readFile(join(userDir, "config.json"), "utf8").catch(() => "{}");
  const { credsStore: _, ...config } = parseConfig(text);
  const { [key]: __, ...credHelpers } = treeOf(config["credHelpers"]);
  return { ...config, credHelpers };
}

function parseConfig(text: string): Readonly<Record<string, unknown>> {
  try {
    return treeOf(JSON.parse(text));
  } catch {
    // Nor can docker read it.
    return {};
  }
}

/** `docker.io` for an image that names no registry. */
export function registryOf(image: string): string {
  const [first = "", ...rest] = image.split("/");
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  return isHost ? first : "docker.io";
}

/** Of workers that were killed during a pull. */
async function removeStaleLogins(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const identity = name.startsWith(PREFIX) ? /^(.*)-/.exec(name.slice(PREFIX.length)) : null;
    if (identity?.[1] !== undefined && processState(identity[1]) === "dead") {
      await rm(join(parent, name), { recursive: true, force: true });
    }
  }
}
