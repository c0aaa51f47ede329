/** `context`: servers by name. */
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { configDirOf } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import { readOptions } from "../config/read.ts";
import { clientOptions } from "../config/tables.ts";
import type { JsonObject } from "../core/json.ts";
import { Secret } from "../core/secret.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import type { Contexts, ServerContext } from "./contexts.ts";
import { findContext, readContexts, writeContexts } from "./contexts.ts";
import { formatJson, formatTable } from "./format.ts";
import { readServerAuthority } from "./tls.ts";

export interface AddContextFlags {
  readonly serverUrl?: string | undefined;
  readonly caFile?: string | undefined;
  /** Name of the environment variable that has the token. */
  readonly tokenEnv?: string | undefined;
  /** The token is the first line of standard input. */
  readonly tokenStdin?: boolean | undefined;
  readonly use?: boolean | undefined;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** Adds a context, or replaces the one of that name. The first one is used at once. */
export async function addContext(
  context: CliContext,
  name: string,
  flags: AddContextFlags,
): Promise<ExitReason> {
  if (!NAME.test(name)) {
    throw new UsageError(
      `A name has letters, digits, "_", "-" and ".", unlike ${JSON.stringify(name)}`,
    );
  }
  const { serverUrl } = readOptions(clientOptions, { flags: { ...flags }, env: {} });
  if (serverUrl === undefined) {
    throw new UsageError(
      "--server-url is required: the server's address, such as https://noetl.example",
    );
  }
  readServerAuthority(flags.caFile);
  const caFile = flags.caFile === undefined ? undefined : resolve(flags.caFile);
  const token = await readToken(context, flags);
  const { dir, contexts } = open(context);
  const others = contexts.all.filter((each) => each.name !== name);
  const current = flags.use === true ? name : (contexts.current ?? name);
  writeContexts(dir, { current, all: [...others, { name, serverUrl, token, caFile }] });
  const isUsed = current === name ? " and is in use" : "";
  context.out(`Context ${name} is ${serverUrl}${isUsed}`);
  return "ok";
}

async function readToken(
  { env }: CliContext,
  { tokenEnv, tokenStdin }: AddContextFlags,
): Promise<Secret | undefined> {
  if (tokenStdin === true) {
    for await (const line of createInterface({ input: process.stdin })) {
      return new Secret(line.trim());
    }
    throw new UsageError("--token-stdin: standard input is empty");
  }
  if (tokenEnv === undefined) {
    return undefined;
  }
  const token = env[tokenEnv];
  if (token === undefined || token === "") {
    throw new UsageError(`--token-env: there is no environment variable ${tokenEnv}`);
  }
  return new Secret(token);
}

export function listContexts(
  context: CliContext,
  flags: { readonly json?: boolean | undefined },
): ExitReason {
  const { contexts } = open(context);
  if (flags.json === true) {
    context.out(formatJson(contexts.all.map((each) => toJson(contexts, each))));
    return "ok";
  }
  const rows = contexts.all.map(({ name, serverUrl, token }) => [
    name === contexts.current ? "*" : "",
    name,
    serverUrl,
    token === undefined ? "" : "yes",
  ]);
  context.out(
    rows.length === 0
      ? "No contexts. Add one: noetl context add NAME --server-url URL"
      : formatTable(["", "name", "server", "token"], rows),
  );
  return "ok";
}

/** The one in use without a name. Never the token. */
export function showContext(
  context: CliContext,
  name: string | undefined,
  flags: { readonly json?: boolean | undefined },
): ExitReason {
  const { values, contexts } = open(context);
  const wanted = name ?? values.context ?? contexts.current;
  if (wanted === undefined) {
    throw new UsageError("No context is in use: noetl context use NAME");
  }
  const found = findContext(contexts, wanted);
  context.out(
    flags.json === true
      ? formatJson(toJson(contexts, found))
      : `${found.name}  ${found.serverUrl}${found.token === undefined ? "" : "  (with a token)"}`,
  );
  return "ok";
}

export function useContext(context: CliContext, name: string): ExitReason {
  const { dir, contexts } = open(context);
  const { serverUrl } = findContext(contexts, name);
  writeContexts(dir, { ...contexts, current: name });
  context.out(`Commands go to ${name}, ${serverUrl}`);
  return "ok";
}

export function deleteContext(context: CliContext, name: string): ExitReason {
  const { dir, contexts } = open(context);
  findContext(contexts, name);
  const current = contexts.current === name ? undefined : contexts.current;
  writeContexts(dir, { current, all: contexts.all.filter((each) => each.name !== name) });
  context.out(`Deleted context ${name}`);
  return "ok";
}

function open({ env }: CliContext): {
  readonly dir: string;
  readonly values: Values<typeof clientOptions>;
  readonly contexts: Contexts;
} {
  const values = readOptions(clientOptions, { flags: {}, env });
  const dir = configDirOf(values, env);
  return { dir, values, contexts: readContexts(dir) };
}

function toJson({ current }: Contexts, { name, serverUrl, token }: ServerContext): JsonObject {
  return {
    name,
    server_url: serverUrl,
    has_token: token !== undefined,
    is_current: name === current,
  };
}
