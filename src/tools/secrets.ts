/**
 * Gives a secret to the tasks behind it in the same pipeline: a credential, or an entry of the
 * playbook's keychain, whose values the server fetches from wherever they are kept.
 *
 * In events, logs and the step's value the secret is masked, so later steps and sub-playbooks cannot
 * read it: they name it themselves. A pipeline that is left for a while, for a long retry or a wait,
 * reads it anew when it goes on: src/worker/reopen-secrets.ts.
 */
import type { Json, JsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import { taskError, thrownFailure, unlessStopped } from "./task-error.ts";
import type { Credential, Tool, ToolContext, ToolModule, ToolOutcome } from "./tool.ts";

const NAMES = ["auth", "credential", "secret", "keychain"] as const;

const PROVIDER_PROBLEM =
  "a task cannot read from a `provider` itself: register a credential whose fields are such references, or an entry of the playbook's `keychain`, and name that as `auth`";

const DESCRIPTION: ToolDescription = {
  kind: "secrets",
  summary: "gives a credential or keychain entry by `auth`, whole or its `field`, to this pipeline",
  runsOn: "worker",
  needs: [{ oneOf: NAMES, text: "auth, the name of a credential or keychain entry" }],
  fields: {
    credential: { type: "text", about: "older name of `auth`" },
    secret: { sameAs: "credential" },
    keychain: { sameAs: "credential" },
    field: { type: ["text", "list"], about: "which of its fields; absent: all" },
    fields: { sameAs: "field" },
    key: { sameAs: "field" },
    provider: { type: "any", about: "refused: the server reads providers" },
  },
  result: {
    status: "success",
    name: "of the credential or entry",
    type: "of the credential",
    data: "the fields",
    value: "the field, where one was asked for",
  },
  failures: { not_found: "the credential has no such field" },
  example: "kind: secrets\nauth: payment_api\nfield: token\n",
  check: (config) => {
    if (config["provider"] !== undefined) {
      return [PROVIDER_PROBLEM];
    }
    return nameOf(config) === "" ? ["`auth` must name one credential or keychain entry"] : [];
  },
};

export const secretsTool: Tool = {
  description: DESCRIPTION,
  run: async ({ config }, context) => await readSecret(config, context),
};

export const secretsModule: ToolModule = {
  descriptions: [DESCRIPTION],
  create: () => [secretsTool],
};

function nameOf(config: JsonObject): string {
  const name = NAMES.map((key) => config[key]).find((value) => value !== undefined);
  return typeof name === "string" ? name : "";
}

async function readSecret(config: JsonObject, context: ToolContext): Promise<ToolOutcome> {
  try {
    const credential = await unlessStopped(context.credential(nameOf(config)), context.signal);
    return { ok: true, value: presentSecret(credential, fieldsOf(config)) };
  } catch (error) {
    const failure = thrownFailure(error);
    if (failure === undefined) {
      throw error;
    }
    return { ok: false, failure };
  }
}

/** Undefined: all. */
function fieldsOf(config: JsonObject): readonly string[] | undefined {
  const fields = config["fields"] ?? config["field"] ?? config["key"];
  if (fields === undefined || fields === null) {
    return undefined;
  }
  return (Array.isArray(fields) ? fields : [fields]).map(String);
}

/** `value` is there when one field was asked for. @throws TaskError if a field is not there. */
function presentSecret(
  { name, type, data }: Credential,
  fields: readonly string[] | undefined,
): Json {
  const missing = fields?.find((field) => data[field] === undefined);
  if (missing !== undefined) {
    const known = Object.keys(data).sort().join(", ");
    const message = `"${name}" has no field "${missing}"; it has ${known}`;
    throw taskError("not_found", "SECRET_FIELD_MISSING", message);
  }
  const wanted = fields === undefined ? data : pick(data, fields);
  const [only] = fields ?? [];
  return {
    status: "success",
    name,
    type,
    data: wanted,
    ...(fields?.length === 1 && only !== undefined ? { value: data[only] ?? null } : {}),
  };
}

function pick(data: JsonObject, fields: readonly string[]): JsonObject {
  return Object.fromEntries(fields.map((field) => [field, data[field] ?? null]));
}
