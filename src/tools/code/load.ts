/** The code of a task, read anew for each try. */
import type { JsonObject } from "../../core/json.ts";
import type { Failure } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import { createHttpTool } from "../http.ts";
import type { ToolCall, ToolContext } from "../tool.ts";
import { readObject } from "./s3.ts";
import type { CodeSource } from "./source.ts";
import { findCode } from "./source.ts";

export interface Code {
  readonly code: string;
  /** Shown in tracebacks. */
  readonly file: string;
}

/** More is no program but data. */
const CODE_BYTES_MAX = 10 * 1024 * 1024;

const http = createHttpTool({ maxOutputBytes: CODE_BYTES_MAX });

/** The code, or why there is none. Paths are the worker's. */
export async function loadCode(
  call: ToolCall,
  defaultFile: string,
  context: ToolContext,
): Promise<Code | Failure> {
  const source = findCode(call.config);
  switch (source.type) {
    case "inline":
      return { code: source.code, file: defaultFile };
    case "file":
      return await readFile(source.path);
    case "http":
      return await fetchCode(source, call, context);
    case "s3": {
      const code = await readObject(source.uri, source.fields, CODE_BYTES_MAX, context);
      return typeof code === "string" ? { code, file: source.uri } : code;
    }
    case "unknown":
      return failure("schema", source.problem, { code: "CODE_MISSING" });
  }
}

async function readFile(path: string): Promise<Code | Failure> {
  try {
    const file = Bun.file(path);
    return file.size > CODE_BYTES_MAX
      ? failure("limit", `"${path}" is larger than ${CODE_BYTES_MAX} bytes`)
      : { code: await file.text(), file: path };
  } catch {
    return failure("not_found", `the script file "${path}" cannot be read on this worker`, {
      code: "SCRIPT_NOT_FOUND",
    });
  }
}

async function fetchCode(
  { url, request }: Extract<CodeSource, { type: "http" }>,
  call: ToolCall,
  context: ToolContext,
): Promise<Code | Failure> {
  const config: JsonObject = { ...request, url, response_type: "text" };
  const outcome = await http.run({ ...call, config }, context);
  if (!outcome.ok) {
    const { message } = outcome.failure;
    return { ...outcome.failure, message: `the script cannot be loaded: ${message}` };
  }
  const { data } = outcome.value as { readonly data?: unknown };
  return { code: String(data ?? ""), file: url };
}
