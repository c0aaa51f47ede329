/** `noetl run FILE`: one playbook to its end, on the server that is named or a platform of its own. */
import { appendFileSync, chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { dataDirOf, filesDirOf } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import type { Flags } from "../config/read.ts";
import { readOptions } from "../config/read.ts";
import { runOptions, upOptions } from "../config/tables.ts";
import { AppError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import type { ServerChoice } from "./contexts.ts";
import { chooseServer } from "./contexts.ts";
import { field, rowsOf } from "./format.ts";
import { openLogger } from "./log.ts";
import type { PayloadFlags } from "./payload.ts";
import { readPayload, readText } from "./payload.ts";
import { findPools } from "./pools.ts";
import { startPlatform } from "./up.ts";
import { followExecution } from "./watch.ts";

export interface RunFlags extends PayloadFlags, Flags {
  readonly json?: boolean | undefined;
}

export async function run(context: CliContext, file: string, flags: RunFlags): Promise<ExitReason> {
  const values = readOptions(runOptions, { flags, env: context.env });
  const payload = await readPayload(flags);
  const content = await readText(file);
  const isNamed = values.serverUrl !== undefined || values.context !== undefined;
  const server = isNamed
    ? chooseServer(values, context.env, flags["context"] !== undefined)
    : undefined;
  return await runContent(context, { content, payload, values, server, json: flags.json === true });
}

export interface RunRequest {
  /** The playbook's text. */
  readonly content: string;
  /** Given the server's address, for playbooks that call it. */
  readonly payload: JsonObject | ((serverUrl: string) => JsonObject);
  readonly values: Values<typeof runOptions>;
  /** Undefined: a platform of its own. */
  readonly server: ServerChoice | undefined;
  readonly json: boolean;
}

export async function runContent(context: CliContext, request: RunRequest): Promise<ExitReason> {
  const { values, server } = request;
  if (server !== undefined) {
    return await runOn(context, server, request);
  }
  using folder = openFolder(values);
  const logFile = join(folder.dir, "noetl.log");
  const log = openLogger("run", { logLevel: "info", logFormat: "json" }, (line) =>
    appendFileSync(logFile, line),
  );
  await using platform = await startPlatform({
    values: platformValues(values, folder.dir, findPools(request.content)),
    log,
    env: context.env,
    signal: context.signal,
    hasSharedOutput: false,
  });
  const stopPlatform = new AbortController();
  const serving = platform.run(stopPlatform.signal);
  const fate =
    values.dataDir === undefined
      ? "it ended unfinished, with the platform that ran it"
      : "it goes on when a platform runs on that data folder again";
  try {
    return await runOn(context, { url: platform.url, token: undefined }, request, fate);
  } finally {
    stopPlatform.abort();
    await serving;
  }
}

function platformValues(
  values: Values<typeof runOptions>,
  dataDir: string,
  pools: readonly string[],
): Values<typeof upOptions> {
  const wanted = values.pool.length > 0 ? values.pool : pools;
  return readOptions(upOptions, {
    flags: {
      pool: wanted,
      port: 0,
      grpcPort: 0,
      dataDir,
      slots: values.slots,
      python: values.python,
      // Files outlive the platform that is made for one run.
      filesDir: filesDirOf(values),
      graceTime: "2s",
      ...(values.cacheDir === undefined ? {} : { cacheDir: values.cacheDir }),
      ...(values.containerDir === undefined ? {} : { containerDir: values.containerDir }),
    },
    env: {},
  });
}

interface Folder extends Disposable {
  readonly dir: string;
}

/** The one that is asked for, or a new one that disappears. */
function openFolder(values: Values<typeof runOptions>): Folder {
  if (values.dataDir !== undefined) {
    const dir = dataDirOf(values);
    mkdirSync(dir, { recursive: true });
    return { dir, [Symbol.dispose]: () => undefined };
  }
  const dir = mkdtempSync(join(tmpdir(), "noetl-run-"));
  chmodSync(dir, 0o711);
  return { dir, [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }) };
}

async function runOn(
  context: CliContext,
  { url, token, authority }: ServerChoice,
  { content, payload, json }: RunRequest,
  fate?: string,
): Promise<ExitReason> {
  const api = new Api({ url, token: token?.reveal(), authority, signal: context.signal });
  const registered = await api.postObject("/api/catalog/register", { content });
  for (const warning of rowsOf(registered, "warnings")) {
    context.note(`line ${field(warning, "line")}: warning: ${field(warning, "message")}`);
  }
  const started = await api.postObject("/api/execute", {
    path: field(registered, "path"),
    version: Number(registered["version"]),
    payload: typeof payload === "function" ? payload(url) : payload,
  });
  const id = field(started, "execution_id");
  if (id === "") {
    throw new AppError("internal", "ANSWER_UNEXPECTED", "The server gave no execution id");
  }
  return await followExecution(context, api, id, { json, fate });
}
