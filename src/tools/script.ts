/** Where the code of a `python`, `javascript` or `typescript` task is: inline or in a file. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type { Failure } from "../engine/failure.ts";
import { failure } from "../engine/failure.ts";

export interface Script {
  readonly code: string;
  /** Shown in tracebacks. */
  readonly file: string;
}

type Source =
  | { readonly type: "inline"; readonly code: string }
  | { readonly type: "file"; readonly path: string }
  | { readonly type: "unknown"; readonly problem: string };

/** Sentences about what is missing; empty when the code can be found. */
export function checkScript(config: JsonObject): readonly string[] {
  const source = findSource(config);
  return source.type === "unknown" ? [source.problem] : [];
}

/** The code, read anew for each task; a `Failure` when there is none. Paths are the worker's. */
export async function loadScript(
  config: JsonObject,
  defaultFile: string,
): Promise<Script | Failure> {
  const source = findSource(config);
  switch (source.type) {
    case "inline":
      return { code: source.code, file: defaultFile };
    case "file":
      return await readScript(source.path);
    case "unknown":
      return failure("schema", source.problem, { code: "CODE_MISSING" });
  }
}

async function readScript(path: string): Promise<Script | Failure> {
  try {
    return { code: await Bun.file(path).text(), file: path };
  } catch {
    return failure("not_found", `the script file "${path}" cannot be read on this worker`, {
      code: "SCRIPT_NOT_FOUND",
    });
  }
}

function findSource(config: JsonObject): Source {
  const { code, script, source } = config;
  if (typeof code === "string") {
    return { type: "inline", code };
  }
  if (script !== undefined) {
    return sourceOfScript(script);
  }
  if (typeof source === "string") {
    return { type: "inline", code: source };
  }
  if (isJsonObject(source)) {
    return sourceOfScript({ uri: config["uri"] ?? null, source });
  }
  return { type: "unknown", problem: "`code` is missing (or `script`)" };
}

function sourceOfScript(script: Json): Source {
  if (typeof script === "string") {
    return script.includes("\n")
      ? { type: "inline", code: script }
      : { type: "file", path: script };
  }
  if (!isJsonObject(script)) {
    return { type: "unknown", problem: "`script` must be a map or text" };
  }
  const source = isJsonObject(script["source"]) ? script["source"] : {};
  const inline = script["code"] ?? script["content"] ?? source["code"] ?? source["content"];
  if (typeof inline === "string") {
    return { type: "inline", code: inline };
  }
  const type = source["type"] ?? script["type"] ?? "file";
  const uri = script["uri"] ?? script["path"] ?? source["path"];
  if (type !== "file" && type !== "local") {
    return {
      type: "unknown",
      problem: `\`script.source.type\` ${JSON.stringify(type)} is not supported, use file or inline`,
    };
  }
  return typeof uri === "string"
    ? { type: "file", path: uri.replace(/^file:\/\//, "") }
    : { type: "unknown", problem: "`script.uri` is missing" };
}
