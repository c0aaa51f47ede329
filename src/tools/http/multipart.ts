/** The body of an upload: `files` of an http task, with the fields of its `form`. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import { failure } from "../../engine/failure.ts";
import { TaskError } from "../task-error.ts";
import type { ToolContext } from "../tool.ts";

const TYPE_DEFAULT = "application/octet-stream";

/** @throws TaskError if a file has no content. */
export async function multipartBody(
  files: Json,
  form: Json | undefined,
  context: ToolContext,
): Promise<FormData> {
  const body = new FormData();
  for (const [name, value] of Object.entries(isJsonObject(form) ? form : {})) {
    for (const item of Array.isArray(value) ? (value as readonly Json[]) : [value]) {
      if (item !== null) {
        body.append(name, typeof item === "string" ? item : JSON.stringify(item));
      }
    }
  }
  for (const file of listFiles(files)) {
    const name = textAt(file, "name") ?? "file";
    const type = textAt(file, "content_type") ?? TYPE_DEFAULT;
    const content = new Blob([await readContent(file, name, context)], { type });
    body.append(name, content, textAt(file, "filename") ?? name);
  }
  return body;
}

/** A list of files, or a map from field to file; a text is a file's content. */
function listFiles(files: Json): readonly JsonObject[] {
  if (Array.isArray(files)) {
    return (files as readonly Json[]).filter(isJsonObject);
  }
  return Object.entries(isJsonObject(files) ? files : {}).map(([name, file]) =>
    isJsonObject(file) ? { name, ...file } : { name, content: file },
  );
}

/** `content` (text, or any value as JSON), `base64`, or `ref`: a stored result. */
async function readContent(
  file: JsonObject,
  name: string,
  context: ToolContext,
): Promise<string | Uint8Array<ArrayBuffer>> {
  const ref = textAt(file, "ref");
  const content = ref === undefined ? file["content"] : await context.resolve(ref);
  const encoded = isJsonObject(content) ? content["base64"] : file["base64"];
  if (typeof encoded === "string") {
    return Uint8Array.from(Buffer.from(encoded, "base64"));
  }
  if (content === undefined || content === null) {
    const message = `the file "${name}" has no content; give it content, base64 or ref`;
    throw new TaskError(failure("schema", message, { code: "FILE_WITHOUT_CONTENT" }));
  }
  return typeof content === "string" ? content : JSON.stringify(content);
}

function textAt(map: JsonObject, key: string): string | undefined {
  const value = map[key];
  return typeof value === "string" && value !== "" ? value : undefined;
}
