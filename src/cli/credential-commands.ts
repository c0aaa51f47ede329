/** `credentials` and what other commands do with them: files with secrets, listing, keys. */
import { parse } from "yaml";
import { errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { Api } from "./api.ts";
import type { JsonFlag } from "./catalog-commands.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { field, formatJson, formatTable, formatTime, rowsOf } from "./format.ts";

/**
 * The credentials in a file: one map or a list of them, JSON or YAML. Names are checked by the server.
 *
 * @throws UsageError naming the file.
 */
export function readCredentials(text: string, path: string): readonly JsonObject[] {
  const value = readDocument(text, path);
  const items: readonly Json[] = Array.isArray(value) ? value : [value];
  return items.map((item) => {
    if (!isJsonObject(item) || typeof item["name"] !== "string") {
      throw new UsageError(`${path} must hold a map with name, type and data, or a list of such`);
    }
    return { type: "generic", ...item };
  });
}

function readDocument(text: string, path: string): Json {
  try {
    return path.endsWith(".json") ? parseJson(text) : (parse(text) as Json);
  } catch (error) {
    throw new UsageError(`Cannot read ${path}: ${errorMessage(error)}`, { cause: error });
  }
}

/** What everybody may know; its content only when asked for, and only if the server gives it. */
export async function showCredential(
  { out }: CliContext,
  api: Api,
  name: string,
  flags: JsonFlag & { readonly includeData?: boolean | undefined },
): Promise<ExitReason> {
  const query = flags.includeData === true ? "?include_data=true" : "";
  const row = await api.getObject(`/api/credentials/${encodeURIComponent(name)}${query}`);
  out(flags.json === true ? formatJson(row) : describe(row));
  return "ok";
}

function describe(row: JsonObject): string {
  const { data } = row;
  const tags = rowsOfTexts(row["tags"]);
  const facts = [
    ["name", field(row, "name")],
    ["type", field(row, "type")],
    ["description", field(row, "description")],
    ["tags", tags.join(", ")],
    ["updated", formatTime(row["updated_at"])],
  ].filter(([, value]) => value !== "");
  const content = isJsonObject(data)
    ? Object.keys(data).map((name) => [`data.${name}`, field(data, name)])
    : [];
  return formatTable(["field", "value"], [...facts, ...content]);
}

function rowsOfTexts(value: Json | undefined): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

export async function deleteCredential(
  { out }: CliContext,
  api: Api,
  name: string,
  flags: JsonFlag,
): Promise<ExitReason> {
  const answer = await api.delete(`/api/credentials/${encodeURIComponent(name)}`);
  out(flags.json === true ? formatJson(answer) : `Deleted credential ${name}`);
  return "ok";
}

/** Exit code 1 if some secrets could not be moved to the current key. */
export async function rotateCredentials(
  { out, note }: CliContext,
  api: Api,
  flags: JsonFlag,
): Promise<ExitReason> {
  const answer = await api.postObject("/api/credentials/rotate", {});
  const failed = rowsOf(answer, "failed");
  if (flags.json === true) {
    out(formatJson(answer));
  } else {
    const count = Number(answer["rewrapped"]);
    const secrets = count === 1 ? "1 secret was" : `${count} secrets were`;
    out(`${secrets} wrapped anew; the key is ${field(answer, "key_id")}`);
    for (const row of failed) {
      note(`${field(row, "name")}: ${field(row, "error")}`);
    }
    const older = Object.entries(isJsonObject(answer["keys"]) ? answer["keys"] : {})
      .filter(([keyId]) => keyId !== answer["key_id"])
      .map(([keyId, left]) => `${keyId} (${String(left)})`);
    out(
      older.length === 0
        ? "No secret needs an older key any more: NOETL_ENCRYPTION_OLD_KEYS may go."
        : `Still wrapped by other keys: ${older.join(", ")}`,
    );
  }
  return failed.length === 0 ? "ok" : "failed";
}
