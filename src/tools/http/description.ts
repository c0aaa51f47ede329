import type { ToolDescription } from "../../dsl/tool-description.ts";
import { checkPaging } from "./paging.ts";

export const HTTP: ToolDescription = {
  kind: "http",
  summary: "calls `url`; gives status_code, headers, and the parsed body as data and body",
  runsOn: "worker",
  needs: [{ oneOf: ["url", "endpoint"], text: "a url or endpoint" }],
  fields: {
    url: { type: "text", about: "address; its query may stand in `params`" },
    endpoint: { sameAs: "url" },
    method: { type: "text", about: "GET, POST, PUT, PATCH, DELETE, …", default: "GET" },
    headers: {
      type: "map",
      about: "by name; null leaves one out. traceparent is added when the execution is traced",
    },
    params: { type: "map", about: "query parameters; a list repeats its name" },
    json: { type: "any", about: "body, sent as JSON" },
    form: { type: "map", about: "body, sent as a form; beside `files` its fields" },
    body: { type: "any", about: "body: text as it is, other values as JSON" },
    data: { sameAs: "body" },
    payload: { sameAs: "body" },
    body_base64: { type: "text", about: "body: bytes" },
    files: {
      type: ["list", "map"],
      about: "uploads: {name, filename, content_type, content|base64|ref}, a list or by field",
    },
    paginate: {
      type: "map",
      about: "all pages: {mode: link|cursor|page|offset, items, next, param, size, max_pages, …}",
    },
    proxy: { type: "text", about: "address of a proxy" },
    follow_redirects: { type: "boolean", about: "false: a redirect is the answer", default: true },
    response_type: {
      type: "text",
      about: "json, text, or binary for {base64, size}; absent: JSON where it is JSON",
    },
    verify_ssl: { type: "boolean", about: "false: any certificate will do", default: true },
    credential: { type: ["text", "map"], about: "older name of `auth`" },
  },
  result: {
    status_code: "status of the answer",
    headers: "by name in lower case",
    data: "the body, parsed; with `paginate` the items of all pages",
    body: "the same",
    url: "where the answer came from",
    elapsed: "seconds",
    pages: "with `paginate`: how many",
    is_cut: "with `paginate`: whether its own limits ended it",
  },
  failures: {
    connection: "no connection, or one that broke",
    rate_limit: "status 429; Retry-After is honoured",
    not_found: "status 404",
    client_error: "other status from 400 on",
    server_error: "status from 500 on",
  },
  example:
    "kind: http\nurl: https://api.example.com/items\nparams: { limit: 10 }\nauth: example_api\n",
  check: ({ paginate }) => checkPaging(paginate),
};
