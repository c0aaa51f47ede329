/**
 * Servers by name, so that nobody types addresses and tokens: a file in the user's configuration folder
 * that only the user can read.
 *
 * Which server a command talks to: `--context`, else `--server-url` or its variable, else NOETL_CONTEXT,
 * else the context in use, else this machine.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { configDirOf } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import type { Environment } from "../config/read.ts";
import type { clientOptions } from "../config/tables.ts";
import { errorMessage } from "../core/errors.ts";
import type { Json } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { Secret } from "../core/secret.ts";
import { suggestion } from "../template/nearest.ts";
import { DEFAULT_SERVER_URL } from "./api.ts";
import { UsageError } from "./context.ts";
import { readServerAuthority } from "./tls.ts";

export interface ServerContext {
  readonly name: string;
  /** For example `https://noetl.example`. */
  readonly serverUrl: string;
  readonly token: Secret | undefined;
  /** Path of the PEM file of who signed its certificate; absent: known authorities. */
  readonly caFile?: string | undefined;
}

export interface Contexts {
  /** Name of the context in use. */
  readonly current: string | undefined;
  /** Names are unique. */
  readonly all: readonly ServerContext[];
}

const FILE = "contexts.json";

/** @throws UsageError when the file is there and cannot be read. */
export function readContexts(dir: string): Contexts {
  const path = join(dir, FILE);
  let value: Json;
  try {
    value = parseJson(readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return { current: undefined, all: [] };
    }
    throw new UsageError(`Cannot read ${path}: ${errorMessage(error)}`, { cause: error });
  }
  const { current, contexts } = isJsonObject(value) ? value : {};
  const list: readonly Json[] = Array.isArray(contexts) ? contexts : [];
  return {
    current: typeof current === "string" ? current : undefined,
    all: list.flatMap(readContext),
  };
}

function readContext(value: Json): readonly ServerContext[] {
  if (!isJsonObject(value)) {
    return [];
  }
  const { name, server_url: serverUrl, token, ca_file: caFile } = value;
  return typeof name === "string" && typeof serverUrl === "string"
    ? [
        {
          name,
          serverUrl,
          token: typeof token === "string" ? new Secret(token) : undefined,
          caFile: typeof caFile === "string" ? caFile : undefined,
        },
      ]
    : [];
}

/** Replaces the file as a whole; it is never half written. */
export function writeContexts(dir: string, { current, all }: Contexts): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const contexts = all.map(({ name, serverUrl, token, caFile }) => ({
    name,
    server_url: serverUrl,
    ...(token === undefined ? {} : { token: token.reveal() }),
    ...(caFile === undefined ? {} : { ca_file: caFile }),
  }));
  const text = `${JSON.stringify({ current: current ?? null, contexts }, null, 2)}\n`;
  const path = join(dir, FILE);
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, text, { mode: 0o600 });
  chmodSync(draft, 0o600);
  renameSync(draft, path);
}

/** @throws UsageError when there is none of that name. */
export function findContext({ all }: Contexts, name: string): ServerContext {
  const found = all.find((each) => each.name === name);
  if (found === undefined) {
    const names = all.map((each) => each.name);
    const known = names.length === 0 ? "there is none yet" : `there are ${names.join(", ")}`;
    const near = suggestion(name, names);
    throw new UsageError(`No context is named ${name}: ${known}${near}`);
  }
  return found;
}

export interface ServerChoice {
  readonly url: string;
  readonly token: Secret | undefined;
  /** PEM text of who signed its certificate; absent: known authorities. */
  readonly authority?: string | undefined;
}

/** @param isContextFlag the context is named by `--context`, not by the environment. */
export function chooseServer(
  values: Values<typeof clientOptions>,
  env: Environment,
  isContextFlag: boolean,
): ServerChoice {
  const { serverUrl, context: name, token, caFile } = values;
  if (serverUrl !== undefined && !isContextFlag) {
    return { url: serverUrl, token, authority: readServerAuthority(caFile) };
  }
  const contexts = readContexts(configDirOf(values, env));
  const wanted = name ?? contexts.current;
  if (wanted === undefined) {
    return { url: DEFAULT_SERVER_URL, token, authority: readServerAuthority(caFile) };
  }
  const found = findContext(contexts, wanted);
  const authority = readServerAuthority(found.caFile ?? caFile);
  return { url: found.serverUrl, token: found.token ?? token, authority };
}
