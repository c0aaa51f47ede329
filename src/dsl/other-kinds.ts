/** Kinds of tools of the public project that do not exist here, and what to write in their place. */

/** The same tool under another name. */
const RENAMED: Readonly<Record<string, { readonly kind: string; readonly hint: string }>> = {
  result_fetch: { kind: "artifact", hint: "write kind: artifact, which gets what ref names" },
};

const INSTEAD: Readonly<Record<string, string>> = {
  agent: "call a playbook (kind: playbook), an MCP server (kind: mcp) or an HTTP service",
  gateway: "call it with kind: http",
  gcs: "use kind: http on https://storage.googleapis.com with a credential of type gcp, or kind: duckdb for s3:// files",
  iterator: 'write "loop" on the step, beside its tool',
  playbooks: "use kind: playbook, in a loop for several of them",
  provider: "call the provider's API with kind: http and a credential",
  rhai: "use kind: javascript",
  snowflake_transfer: "read with kind: snowflake and write with kind: postgres or duckdb",
  task_sequence: 'write the tasks as a list below "tool"',
  wasm: "use kind: javascript, which may load WebAssembly, or python",
};

/** The kind that stands for `kind` here, with how to write it; undefined when it has its own name. */
export function renamedKind(
  kind: string,
): { readonly kind: string; readonly hint: string } | undefined {
  return Object.hasOwn(RENAMED, kind) ? RENAMED[kind] : undefined;
}

/** What to use instead of a kind that is known and not supported. */
export function insteadOf(kind: string): string | undefined {
  return Object.hasOwn(INSTEAD, kind) ? INSTEAD[kind] : undefined;
}
