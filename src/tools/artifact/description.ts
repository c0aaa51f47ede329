import type { ToolDescription } from "../../dsl/tool-description.ts";
import { RESULT_SCOPES } from "../../engine/result.ts";

export const ACTIONS = ["get", "put", "list", "delete"] as const;

export const ARTIFACT: ToolDescription = {
  kind: "artifact",
  summary: "gets, puts, lists and deletes stored values and files",
  runsOn: "worker",
  fields: {
    action: { type: "text", about: "what to do", choices: ACTIONS, default: "get" },
    result_ref: {
      type: "any",
      about: "which value: a reference, URI or URN; these fields may also stand below `input`",
    },
    ref: { sameAs: "result_ref" },
    uri: { sameAs: "result_ref" },
    urn: { sameAs: "result_ref" },
    name: { type: "text", about: "the newest of that name; put: the name to give" },
    execution_id: { type: "scalar", about: "whose", default: "this execution" },
    data: { type: "any", about: "put: what to store" },
    file: { type: "text", about: "get into, or put, a file on the worker's machine" },
    content_type: { type: "text", about: "put: what it is", default: "application/json" },
    encoding: { type: "text", about: "put: base64 if `data` is bytes in base64" },
    scope: { type: "text", about: `put: how long it is kept: ${RESULT_SCOPES.join(", ")}` },
    ttl: { type: "duration", about: "put: the same as a time" },
    prefer: { type: "any", about: "there is one way", isIgnored: true },
  },
  result: {
    "": "get: the value itself; of bytes {data, encoding, content_type, …}",
    ref: "put, get into a file: the reference; uri, name, scope, content_type, bytes, sha256, expires_at",
    artifacts: "list: the same of each; their count",
    deleted: "delete: false if there was none",
  },
  failures: {
    not_found: "no such value or file",
    client_error: "what the store refuses, or a file that cannot be used",
    connection: "no server for a long time",
  },
  example: "kind: artifact\naction: put\nname: report\nfile: out/report.pdf\nscope: permanent\n",
};
