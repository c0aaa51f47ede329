/** Files on another machine, by the system's sftp client. */
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Json, JsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import type { CommandResult } from "./child-process.ts";
import type { Environment } from "./environment.ts";
import { missingProgram } from "./environment.ts";
import { decodePayload, encodePayload } from "./payload.ts";
import type { Entry } from "./ssh/batch.ts";
import { parseListing, quote } from "./ssh/batch.ts";
import { runSsh } from "./ssh/client.ts";
import { connectionFailure, transferFailure } from "./ssh/failure.ts";
import { SSH_FAILURES, SSH_FIELDS } from "./ssh/fields.ts";
import type { SshTarget } from "./ssh/target.ts";
import { sshTarget } from "./ssh/target.ts";
import { stoppedFailure } from "./stopped.ts";
import { TaskError, taskError, thrownFailure } from "./task-error.ts";
import type { Tool, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

export interface SftpToolOptions {
  readonly env: Environment;
  /** Largest file that is read into a result, bytes. */
  readonly maxOutputBytes: number;
}

/** Sends one batch; gives what it printed. @throws TaskError */
type Send = (what: string, batch: readonly string[]) => Promise<string>;

interface Work {
  readonly config: JsonObject;
  readonly path: string;
  readonly send: Send;
  readonly bytesMax: number;
}

type OperationRun = (work: Work) => Promise<Json>;

const OPERATIONS: Readonly<Record<string, OperationRun>> = {
  get: getFile,
  put: putFile,
  list: listFolder,
  mkdir: makeFolder,
  delete: (work) => change(work, `rm ${quote(work.path)}`, { deleted: true }),
  rmdir: (work) => change(work, `rmdir ${quote(work.path)}`, { deleted: true }),
  rename: renamePath,
};

const DESCRIPTION: ToolDescription = {
  kind: "sftp",
  summary: "does an `operation` on another machine's files: get, put, list, mkdir, delete, rename",
  runsOn: "worker",
  needs: [{ oneOf: ["operation"], text: `an operation: ${Object.keys(OPERATIONS).join(", ")}` }],
  fields: {
    operation: { type: "text", about: "what to do", choices: Object.keys(OPERATIONS) },
    path: { type: "text", about: "there" },
    remote_path: { sameAs: "path" },
    local_path: { type: "text", about: "file on the worker's machine to get into, or to put" },
    to: { type: "text", about: "rename: the new path" },
    content: { type: "any", about: "put: text as it is, other values as JSON" },
    data: { sameAs: "content" },
    encoding: { type: "text", about: "json, text or base64", default: "whichever fits" },
    atomic: { type: "boolean", about: "false: put writes in place", default: true },
    parents: { type: "boolean", about: "mkdir: the folders above too", default: false },
    ...SSH_FIELDS,
  },
  result: {
    status: "success",
    path: "there",
    size: "get, put: bytes",
    content: "get: the content, unless it went to local_path; its encoding",
    entries: "list: {name, type, size, …}",
  },
  failures: {
    ...SSH_FAILURES,
    not_found: "no such file or folder",
    client_error: "what the server refuses",
  },
  example: "kind: sftp\nauth: partner\noperation: get\npath: out/orders.csv\n",
  programs: ["sftp", "ssh"],
  check: checkSftp,
};

export const sftpModule: ToolModule = {
  descriptions: [DESCRIPTION],
  create: (parts) => [createSftpTool(parts)],
};

export function createSftpTool(options: SftpToolOptions): Tool {
  return {
    description: DESCRIPTION,
    lacks: () => missingProgram("sftp", options.env),
    run: (call, context) => runOperation(call.config, options, context),
  };
}

function checkSftp(config: JsonObject): readonly string[] {
  const { operation, to, local_path } = config;
  const lacksContent =
    operation === "put" && contentOf(config) === undefined && !isText(local_path);
  return [
    ...(isText(pathOf(config)) ? [] : [`${operation} needs \`path\``]),
    ...(operation === "rename" && !isText(to) ? ["rename needs `to`"] : []),
    ...(lacksContent ? ["put needs `content` or `local_path`"] : []),
  ];
}

function pathOf(config: JsonObject): Json | undefined {
  return config["path"] ?? config["remote_path"];
}

function contentOf(config: JsonObject): Json | undefined {
  return config["content"] ?? config["data"];
}

function isText(value: Json | undefined): value is string {
  return typeof value === "string" && value !== "";
}

async function runOperation(
  config: JsonObject,
  options: SftpToolOptions,
  context: ToolContext,
): Promise<ToolOutcome> {
  try {
    const run = OPERATIONS[String(config["operation"])] ?? listFolder;
    const target = await sshTarget(config, context);
    const send: Send = (what, batch) => sendBatch(what, batch, target, options, context);
    const path = String(pathOf(config) ?? "");
    return { ok: true, value: await run({ config, path, send, bytesMax: options.maxOutputBytes }) };
  } catch (error) {
    const failure = thrownFailure(error);
    if (failure === undefined) {
      throw error;
    }
    return { ok: false, failure };
  }
}

async function sendBatch(
  what: string,
  batch: readonly string[],
  target: SshTarget,
  { env }: SftpToolOptions,
  context: ToolContext,
): Promise<string> {
  // An @ keeps the client from printing the command itself.
  const stdin = batch.map((line) => `@${line}\n`).join("");
  const host = target.host.includes(":") ? `[${target.host}]` : target.host;
  const words = ["-b", "-", host];
  const silent = { signal: context.signal, log: () => undefined };
  const result = await runSsh({ program: "sftp", target, words, stdin }, env, silent);
  if (context.signal.aborted) {
    throw new TaskError(stoppedFailure(context.signal));
  }
  if (result.exit_code !== 0) {
    throw new TaskError(failureOf(what, result, target));
  }
  return result.stdout;
}

function failureOf(what: string, result: CommandResult, target: SshTarget) {
  return connectionFailure(result, target) ?? transferFailure(what, result);
}

/** Into `local_path` on the worker, or into the result. */
async function getFile({ config, path, send, bytesMax }: Work): Promise<Json> {
  const { local_path } = config;
  if (isText(local_path)) {
    const part = `${local_path}.${randomUUID()}.part`;
    try {
      await send(`get ${path}`, [`get ${quote(path)} ${quote(part)}`]);
      renameSync(part, local_path);
    } finally {
      rmSync(part, { force: true });
    }
    return { status: "success", path, local_path, size: statSync(local_path).size };
  }
  const entry = await fileEntry(path, send);
  if (entry.size > bytesMax) {
    throw tooLarge(path, entry.size, bytesMax);
  }
  return await inFolder(async (folder) => {
    const copy = join(folder, "content");
    await send(`get ${path}`, [`get ${quote(path)} ${quote(copy)}`]);
    const bytes = await Bun.file(copy).bytes();
    if (bytes.length > bytesMax) {
      throw tooLarge(path, bytes.length, bytesMax);
    }
    const { value, encoding } = decodePayload(bytes, config["encoding"], false);
    return { status: "success", path, size: bytes.length, content: value, encoding };
  });
}

async function fileEntry(path: string, send: Send): Promise<Entry> {
  const entries = parseListing(await send(`get ${path}`, [`ls -ln ${quote(path)}`]));
  const [entry] = entries;
  const isOne = entries.length === 1 && entry?.name === path.split("/").at(-1);
  if (entry === undefined || !isOne || entry.type === "directory") {
    throw taskError("client_error", "SFTP_NO_FILE", `get ${path}: it is not a file`);
  }
  return entry;
}

function tooLarge(path: string, size: number, bytesMax: number) {
  const message = `${path} has ${size} bytes, a result at most ${bytesMax}: get it into a \`local_path\``;
  return taskError("limit", "RESULT_TOO_LARGE", message);
}

/** Under another name first, so that nobody finds half a file; `atomic: false` writes in place. */
async function putFile({ config, path, send }: Work): Promise<Json> {
  return await inFolder(async (folder) => {
    const source = sourceFile(config, folder);
    const part = config["atomic"] === false ? path : `${path}.${randomUUID()}.part`;
    const { size } = statSync(source);
    const put = `put ${quote(source)} ${quote(part)}`;
    await send(
      `put ${path}`,
      part === path ? [put] : [put, `rename ${quote(part)} ${quote(path)}`],
    );
    return { status: "success", path, size };
  });
}

function sourceFile(config: JsonObject, folder: string): string {
  const content = contentOf(config);
  if (content !== undefined) {
    const file = join(folder, "content");
    writeFileSync(file, encodePayload(content, config["encoding"]), { mode: 0o600 });
    return file;
  }
  const local = String(config["local_path"]);
  if (!existsSync(local) || !statSync(local).isFile()) {
    const message = `"${local}" is not a file on this worker`;
    throw taskError("not_found", "LOCAL_FILE_MISSING", message);
  }
  return local;
}

async function listFolder({ path, send }: Work): Promise<Json> {
  const entries = parseListing(await send(`list ${path}`, [`ls -lan ${quote(path)}`]));
  return {
    status: "success",
    path,
    entries: entries.map((each) => ({ ...each })),
    count: entries.length,
  };
}

/** `parents: true` makes what is missing above it too, and is content when it is there already. */
async function makeFolder({ config, path, send }: Work): Promise<Json> {
  if (config["parents"] !== true) {
    await send(`mkdir ${path}`, [`mkdir ${quote(path)}`]);
    return { status: "success", path };
  }
  const parts = path.split("/").filter((part) => part !== "");
  const root = path.startsWith("/") ? "/" : "";
  const all = parts.map((_, index) => root + parts.slice(0, index + 1).join("/"));
  // A minus: go on if it fails. Whether the folder is there in the end is what counts.
  const batch = [...all.map((each) => `-mkdir ${quote(each)}`), `cd ${quote(path)}`];
  await send(`mkdir ${path}`, batch);
  return { status: "success", path };
}

async function renamePath(work: Work): Promise<Json> {
  const to = String(work.config["to"]);
  return await change(work, `rename ${quote(work.path)} ${quote(to)}`, { to });
}

async function change(work: Work, command: string, more: JsonObject): Promise<Json> {
  await work.send(`${String(work.config["operation"])} ${work.path}`, [command]);
  return { status: "success", path: work.path, ...more };
}

/** A folder of this task only, gone afterwards. */
async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "noetl-sftp-"));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
