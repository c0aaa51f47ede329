/**
 * `env` of a container task: a map of values, or the public project's list `[{name, value | value_from}]`.
 *
 * A value that is a map `{credential, field}` is one field of a credential. `value_from {secret_name, secret_key}`
 * is the same where a runtime of this machine runs it; in a cluster it is a key of the cluster's own Secret.
 */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import { taskError } from "../task-error.ts";
import type { ToolContext } from "../tool.ts";
import type { Problems } from "./reading.ts";
import { isGiven, textOf } from "./reading.ts";

export type Variable =
  | { readonly name: string; readonly value: string }
  | {
      readonly name: string;
      readonly credential: string;
      readonly field: string;
      /** True: a cluster has it itself. */
      readonly isClusterSecret: boolean;
    };

const NAME = /^[A-Za-z_][A-Za-z0-9_.-]*$/;
const ITEM_TEXT = "must be {name, value} or {name, value_from: {secret_name, secret_key}}";

export function readVariables(config: JsonObject, problems: Problems): readonly Variable[] {
  const { env } = config;
  const found = Array.isArray(env)
    ? (env as readonly Json[]).map((item, index) => readItem(item, `env.${index}`, problems))
    : Object.entries(isJsonObject(env) ? env : {}).map(([name, value]) =>
        readEntry(name, value, problems),
      );
  return found.flatMap((variable) => {
    if (variable !== undefined && !NAME.test(variable.name)) {
      problems.add("env", `has a name that no variable can have: ${JSON.stringify(variable.name)}`);
      return [];
    }
    return variable === undefined ? [] : [variable];
  });
}

/** Null leaves it out. */
function readEntry(name: string, value: Json, problems: Problems): Variable | undefined {
  if (value === null) {
    return undefined;
  }
  if (isJsonObject(value) && (value["credential"] !== undefined || value["field"] !== undefined)) {
    problems.checkKeys(`env.${name}`, value, ["credential", "field"]);
    return secretOf(name, value["credential"], value["field"], false) ?? unclear(name, problems);
  }
  return { name, value: typeof value === "object" ? JSON.stringify(value) : String(value) };
}

function unclear(name: string, problems: Problems): undefined {
  return problems.add(`env.${name}`, "must name a credential and its field: {credential, field}");
}

function readItem(item: Json, field: string, problems: Problems): Variable | undefined {
  const map = isJsonObject(item) ? item : {};
  problems.checkKeys(field, map, ["name", "value", "value_from"]);
  const name = textOf(map["name"] ?? null) ?? "";
  const { value, value_from: from } = map;
  if (name === "" || (isGiven(value) && isGiven(from))) {
    return problems.add(field, ITEM_TEXT);
  }
  if (isJsonObject(from)) {
    problems.checkKeys(`${field}.value_from`, from, ["secret_name", "secret_key"]);
    const secret = secretOf(name, from["secret_name"], from["secret_key"], true);
    return secret ?? problems.add(field, ITEM_TEXT);
  }
  if (value === undefined || value === null) {
    return { name, value: "" };
  }
  return { name, value: typeof value === "object" ? JSON.stringify(value) : String(value) };
}

function secretOf(
  name: string,
  credential: Json | undefined,
  field: Json | undefined,
  isClusterSecret: boolean,
): Variable | undefined {
  return typeof credential === "string" && typeof field === "string" && credential && field
    ? { name, credential, field, isClusterSecret }
    : undefined;
}

export interface ResolvedVariables {
  readonly env: Readonly<Record<string, string>>;
  readonly secretEnv: Readonly<Record<string, { readonly name: string; readonly key: string }>>;
}

/** @throws CredentialError, and TaskError for a field that a credential has not. */
export async function resolveVariables(
  variables: readonly Variable[],
  isCluster: boolean,
  { credential }: Pick<ToolContext, "credential">,
): Promise<ResolvedVariables> {
  const env: Record<string, string> = {};
  const secretEnv: Record<string, { readonly name: string; readonly key: string }> = {};
  for (const variable of variables) {
    if ("value" in variable) {
      env[variable.name] = variable.value;
    } else if (variable.isClusterSecret && isCluster) {
      secretEnv[variable.name] = { name: variable.credential, key: variable.field };
    } else {
      env[variable.name] = fieldOf(await credential(variable.credential), variable.field);
    }
  }
  return { env, secretEnv };
}

function fieldOf(
  { name, data }: { readonly name: string; readonly data: JsonObject },
  field: string,
) {
  const value = data[field];
  if (value === undefined || value === null) {
    const fields = Object.keys(data).join(", ");
    const message = `Credential ${name} has no field ${field}; it has ${fields}`;
    throw taskError("auth", "CREDENTIAL_FIELD_UNKNOWN", message);
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
