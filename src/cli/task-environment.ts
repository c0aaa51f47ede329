/** The environment of the processes that run tasks. */
import type { Environment } from "../config/read.ts";
import { secretNames } from "../config/read.ts";
import { clientOptions, serverOptions } from "../config/tables.ts";

/** What tasks may see: everything but the platform's own secrets, and those it hands out by name. */
export function taskEnvironment(env: Environment): Environment {
  const handed = (env["NOETL_SECRET_ENV"] ?? "").split(",").map((name) => name.trim());
  const own = [...secretNames(serverOptions), ...secretNames(clientOptions)];
  const secrets = new Set([...own, ...handed, "NATS_USER"]);
  return Object.fromEntries(Object.entries(env).filter(([name]) => !secrets.has(name)));
}

/** What templates may read as `env.NAME`. */
export function templateEnvironment(
  { templateEnv }: { readonly templateEnv: readonly string[] },
  env: Environment,
): Readonly<Record<string, string>> {
  return Object.fromEntries(templateEnv.map((name) => [name, env[name] ?? ""]));
}

/** For child processes, whose environments have no gaps. */
export function definedOnly(env: Environment): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
