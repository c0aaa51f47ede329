/** `result`: values of steps and stored values on a server. */
import { closeSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import type { JsonObject } from "../core/json.ts";
import { placeUri } from "../engine/result.ts";
import type { Api } from "./api.ts";
import type { JsonFlag } from "./catalog-commands.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { field, formatJson, formatTable, formatTime, rowsOf } from "./format.ts";

export interface OutputFlags {
  readonly output?: string | undefined;
}

/** Of a loop without `--item` its whole collection. */
export async function showStepResult(
  context: CliContext,
  api: Api,
  { id, step }: { readonly id: string; readonly step: string },
  flags: OutputFlags & { readonly item?: string | undefined },
): Promise<ExitReason> {
  if (flags.item !== undefined && !/^\d+$/.test(flags.item)) {
    throw new UsageError(`--item must be a number from 0, not "${flags.item}"`);
  }
  const whole = placeUri(id, step).replace(/\/0\/0\/1$/, "");
  const uri = flags.item === undefined ? whole : placeUri(id, step, Number(flags.item));
  return await getResult(context, api, uri, flags);
}

export async function getResult(
  context: CliContext,
  api: Api,
  address: string,
  { output }: OutputFlags,
): Promise<ExitReason> {
  const path = `/api/result/resolve?ref=${encodeURIComponent(address)}`;
  const response = await api.fetch(path, {});
  if (output === undefined) {
    context.out(await readText(response));
    return "ok";
  }
  const bytes = await save(response, output);
  context.note(`Wrote ${bytes} bytes to ${output}`);
  return "ok";
}

/** @throws UsageError for what a terminal should not get. */
async function readText(response: Response): Promise<string> {
  const text = decode(await response.bytes());
  if (text === undefined) {
    throw new UsageError("the value is no text: write it to a file with -o");
  }
  return text;
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // The caller says what to do.
    return undefined;
  }
}

/** The file is there as a whole, or not at all. */
async function save(response: Response, path: string): Promise<number> {
  const temporary = `${path}.part-${process.pid}`;
  const file = openSync(temporary, "w");
  let byteCount = 0;
  try {
    for await (const chunk of response.body ?? []) {
      byteCount += writeSync(file, chunk);
    }
    const size = response.headers.get("x-noetl-size");
    if (size !== null && Number(size) !== byteCount) {
      throw new Error(`The answer ended after ${byteCount} of ${size} bytes: try again`);
    }
    renameSync(temporary, path);
    return byteCount;
  } finally {
    closeSync(file);
    rmSync(temporary, { force: true });
  }
}

export async function listResults(
  { out }: CliContext,
  api: Api,
  id: string,
  flags: JsonFlag & { readonly name?: string | undefined; readonly limit?: string | undefined },
): Promise<ExitReason> {
  const query = new URLSearchParams();
  for (const key of ["name", "limit"] as const) {
    const value = flags[key];
    if (value !== undefined) {
      query.set(key, value);
    }
  }
  const answer = await api.get(`/api/result/${encodeURIComponent(id)}?${query}`);
  const rows = rowsOf(answer, "results");
  if (flags.json === true) {
    out(formatJson(rows));
  } else {
    out(rows.length === 0 ? "No stored values." : formatTable(HEADINGS, rows.map(cells)));
  }
  return "ok";
}

const HEADINGS = ["name", "bytes", "type", "scope", "stored", "expires", "ref"];

function cells(row: JsonObject): readonly string[] {
  const type = field(row, "content_type");
  return [
    field(row, "name"),
    field(row, "bytes"),
    type === "application/json" ? field(row, "type") : type,
    field(row, "scope"),
    formatTime(row["created_at"]),
    formatTime(row["expires_at"]),
    field(row, "ref"),
  ];
}

export async function putResult(
  { out }: CliContext,
  api: Api,
  { id, name, file }: { readonly id: string; readonly name: string; readonly file: string },
  flags: JsonFlag & {
    readonly scope?: string | undefined;
    readonly ttl?: string | undefined;
    readonly contentType?: string | undefined;
  },
): Promise<ExitReason> {
  const body = Bun.file(file);
  if (!(await body.exists())) {
    throw new UsageError(`There is no file ${file}`);
  }
  const query = new URLSearchParams();
  for (const key of ["scope", "ttl"] as const) {
    const value = flags[key];
    if (value !== undefined) {
      query.set(key, value);
    }
  }
  const path = `/api/result/${encodeURIComponent(id)}/${encodeURIComponent(name)}?${query}`;
  const headers = { "content-type": flags.contentType ?? body.type };
  const response = await api.fetch(path, { method: "PUT", body, headers });
  const stored = (await response.json()) as JsonObject;
  const text = `Stored ${field(stored, "bytes")} bytes as ${field(stored, "ref")}`;
  out(flags.json === true ? formatJson(stored) : text);
  return "ok";
}

export async function deleteResult(
  { out }: CliContext,
  api: Api,
  ref: string,
): Promise<ExitReason> {
  await api.delete(`/api/result/resolve?ref=${encodeURIComponent(ref)}`);
  out(`Deleted ${ref}`);
  return "ok";
}
