/**
 * One line of the table in src/dsl/README.md: fields of one block of the language, what becomes of
 * them here, and a sample that shows it.
 */
import { parse } from "yaml";
import type { JsonObject } from "../../../../src/core/json.ts";

export interface Row {
  /** Part of a document that the fields stand in; see {@link BLOCKS}. */
  readonly block: string;
  /** Names, with blanks between them. */
  readonly fields: string;
  readonly fate: "yes" | "differently" | "no effect" | "refused";
  /** What it does, how differently, or what to write instead. */
  readonly how: string;
  /** What the sample's diagnostics are, each code once; default none. */
  readonly finds?: readonly string[];
  /** The fields with values, merged over the block's least document. */
  readonly sample: JsonObject;
  /** Where its work is shown, `path below test/ › title`; default: the row's own test. */
  readonly test?: string;
}

/** A sample as text, for maps with a `then`, which JavaScript would take for promises. */
export function fromYaml(text: string): JsonObject {
  return parse(text) as JsonObject;
}

/** The rows of one block. */
export function rows(block: string, items: readonly Omit<Row, "block">[]): readonly Row[] {
  return items.map((item) => ({ block, ...item }));
}

const NOOP: JsonObject = { kind: "noop" };
const HEADER: JsonObject = {
  apiVersion: "noetl.io/v2",
  kind: "Playbook",
  metadata: { path: "tests/language" },
};
const SECOND: JsonObject = { step: "b", tool: NOOP };
const ARCS: JsonObject = { arcs: [{ step: "b" }] };
const GUARD = fromYaml("{when: output.status == 'error', then: {do: fail}}");
const ELSE = fromYaml("{else: {then: {do: continue}}}");
const ALLOW = fromYaml("{then: {allow: true}}");
const CURSOR: JsonObject = { kind: "postgres", auth: "db", claim: "SELECT 1" };

const playbook = (more: JsonObject): JsonObject => ({
  ...HEADER,
  workflow: [{ step: "a", tool: NOOP, next: ARCS }, SECOND],
  ...more,
});
const step = (more: JsonObject): JsonObject =>
  playbook({ workflow: [{ step: "a", tool: NOOP, next: ARCS, ...more }, SECOND] });
const tool = (more: JsonObject): JsonObject => step({ tool: { ...NOOP, ...more } });
const withThen = (then: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(GUARD).map(([key, old]) => [key, key === "when" ? old : then]));
const policy = (more: JsonObject): JsonObject =>
  tool({ spec: { policy: { rules: [ELSE], ...more } } });
const loop = (more: JsonObject): JsonObject => step({ loop: { in: [1], iterator: "x", ...more } });
const cursor = (more: JsonObject, spec: JsonObject = {}): JsonObject =>
  step({
    loop: { iterator: "x", cursor: { ...CURSOR, ...more }, spec: { mode: "cursor", ...spec } },
  });
const trigger = (kind: string, spec: JsonObject): JsonObject => ({
  apiVersion: "noetl.io/v1",
  kind,
  metadata: { path: "tests/trigger" },
  spec,
});
const webhook = (ingress: JsonObject): JsonObject =>
  trigger("Subscription", {
    source: "webhook",
    dispatch: { playbook: "p" },
    ingress: { gateway_path: "x", verify: { type: "bearer", credential: "c" }, ...ingress },
  });
const subscription = (more: JsonObject): JsonObject =>
  trigger("Subscription", {
    source: "nats",
    subject: "s",
    dispatch: { playbook: "p" },
    ...more,
  });

/** What a tool of the kind needs at least. */
export const NEEDED: Readonly<Record<string, JsonObject>> = {
  artifact: { action: "list" },
  container: { image: "i" },
  cuda: { source: "int main() {}" },
  duckdb: { query: "SELECT 1" },
  ducklake: { query: "SELECT 1" },
  http: { url: "http://x" },
  javascript: { code: "result = 1" },
  mcp: { endpoint: "http://x" },
  noop: {},
  nats: { operation: "kv_keys", bucket: "b" },
  playbook: { path: "p" },
  postgres: { query: "SELECT 1", auth: "db" },
  python: { code: "result = 1" },
  script: { code: "print(1)" },
  secrets: { credential: "c" },
  sftp: { operation: "list", path: "/" },
  shell: { command: "true" },
  snowflake: { query: "SELECT 1", auth: "db" },
  ssh: { command: "true" },
  subscription: { stream: "S" },
  transfer: { source: { type: "http", url: "http://x" }, target: { type: "postgres", table: "t" } },
  typescript: { code: "result = 1" },
  wait: {},
};

type Place = (sample: JsonObject) => JsonObject;

/** Blocks by name: the document that holds their fields. Tools are blocks `tool KIND`. */
export const BLOCKS: Readonly<Record<string, Place>> = {
  document: playbook,
  metadata: (more) => playbook({ metadata: { path: "tests/language", ...more } }),
  executor: (more) => playbook({ executor: more }),
  "executor.requires": (more) => playbook({ executor: { requires: more } }),
  "executor.spec": (more) => playbook({ executor: { spec: more } }),
  "executor.spec.concurrency": (more) => playbook({ executor: { spec: { concurrency: more } } }),
  keychain: (more) => playbook({ keychain: [{ name: "k", ...more }] }),
  workbook: (more) => playbook({ workbook: [{ name: "w", tool: NOOP, ...more }] }),
  step,
  "step.spec": (more) => step({ spec: more }),
  "step.spec.policy": (more) => step({ spec: { policy: more } }),
  "step.spec.policy.lifecycle": (more) => step({ spec: { policy: { lifecycle: more } } }),
  "step.spec.policy.failure": (more) => step({ spec: { policy: { failure: more } } }),
  "step.spec.policy.admit": (more) => step({ spec: { policy: { admit: more } } }),
  "step.spec.policy.admit.rules": (more) =>
    step({ spec: { policy: { admit: { rules: [{ ...ALLOW, ...more }] } } } }),
  output: (more) => step({ output: more }),
  loop,
  "loop.spec": (more) => loop({ spec: more }),
  "loop.spec.policy": (more) => loop({ spec: { policy: more } }),
  "loop.cursor": (more) => cursor(more),
  "loop.spec.frame": (more) => cursor({}, { frame: more }),
  next: (more) => step({ next: { ...ARCS, ...more } }),
  "next.spec": (more) => step({ next: { ...ARCS, spec: more } }),
  arc: (more) => step({ next: { arcs: [{ step: "b", ...more }] } }),
  "next list": (more) => step({ next: [more] }),
  tool,
  "tool.spec": (more) => tool({ spec: more }),
  "tool.spec.timeout": (more) => tool({ spec: { timeout: more } }),
  "tool.rate_limit": (more) =>
    tool({
      rate_limit: {
        ...(Object.keys(more).some((key) => key.startsWith("per_")) ? {} : PER),
        ...more,
      },
    }),
  "tool.gpu": (more) => tool({ gpu: more }),
  "tool.timeouts": (more) => tool({ timeouts: more }),
  "tool.retry": (more) => tool({ retry: more }),
  policy,
  "policy.rules": (more) => policy({ rules: [{ ...("else" in more ? {} : GUARD), ...more }] }),
  "rule.then": (more) => policy({ rules: [withThen({ do: "retry", ...more })] }),
  kind: (more) => step({ tool: more }),
  subscription,
  "subscription nats": (more) =>
    trigger("Subscription", {
      source: "nats",
      dispatch: { playbook: "p" },

      nats: { subject: "s", ...more },
    }),
  "subscription.ingress": webhook,
  "subscription.ingress.verify": (more) =>
    webhook({ verify: { type: "hmac_sha256", credential: "c", ...more } }),
  "subscription.dispatch": (more) => subscription({ dispatch: { playbook: "p", ...more } }),
  "subscription.dedup": (more) => subscription({ dedup: more }),
  "subscription.limits": (more) => subscription({ limits: more }),
  "subscription.headers": (more) => subscription({ headers: more }),
  "subscription.headers.directives": (more) =>
    subscription({ headers: { directives: [{ header: "x", controls: "drop", ...more }] } }),
  "subscription.circuit_breaker": (more) => subscription({ circuit_breaker: more }),
  "subscription.dead_letter": (more) => subscription({ dead_letter: more }),
  "subscription.spool": (more) => subscription({ spool: more }),
  schedule: (more) =>
    trigger("Schedule", {
      playbook: "p",
      ...("cron" in more || "interval" in more ? {} : { cron: "@daily" }),
      ...more,
    }),
};
const PER: JsonObject = { per_second: 1 };

/** The least document that holds the row's sample. */
export function documentOf({ block, sample }: Row): JsonObject {
  const place = BLOCKS[block];
  if (place !== undefined) {
    return place(sample);
  }
  const kind = block.replace(/^tool /, "");
  const needed = NEEDED[kind];
  if (!block.startsWith("tool ") || needed === undefined) {
    throw new Error(`there is no block "${block}"`);
  }
  return step({ tool: { kind, ...needed, ...sample } });
}

/** Title of the row's own test. */
export function titleOf({ block, fields }: Row): string {
  return `${block}: ${fields}`;
}

const OWN = "unit/dsl/language.test.ts";

/** Where the row's evidence is. */
export function evidenceOf(row: Row): string {
  return row.test ?? `${OWN} › ${titleOf(row)}`;
}
