/**
 * Secrets of the Kubernetes cluster, by its API with the pod's own service account, whose role
 * decides what may be read.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Reference } from "../reference.ts";
import { callRemote, notConfigured, refusal } from "../remote.ts";

export interface KubernetesOptions {
  /** Of the API, `https://10.0.0.1:443`. */
  readonly url: string;
  /** Folder with `token`, `ca.crt` and `namespace` of the service account. */
  readonly accountDir: string;
}

const WHO = "The Kubernetes API";

/** One key's text, or all keys as fields. */
export async function readKubernetesSecret(
  reference: Reference,
  options: KubernetesOptions | undefined,
): Promise<Json> {
  if (options === undefined) {
    throw notConfigured(
      "No Kubernetes API is known: this server does not run in a pod, and NOETL_KUBERNETES_URL is not set",
    );
  }
  const name = String(reference["name"]);
  const namespace = String(reference["namespace"] ?? (await readAccount(options, "namespace")));
  const what = `secret ${namespace}/${name}`;
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets/${encodeURIComponent(name)}`;
  // Read anew each time: Kubernetes replaces the token of a running pod.
  const token = await readAccount(options, "token");
  const answer = await callRemote({
    who: WHO,
    url: `${options.url}${path}`,
    method: "GET",
    headers: { authorization: `Bearer ${token}`, accept: "application/json" },
    ca: options.url.startsWith("https:") ? await readAccount(options, "ca.crt") : undefined,
  });
  if (answer.status !== 200) {
    throw refusal(WHO, what, answer);
  }
  return pickKey(decodeData(answer.body), what, reference["key"]);
}

async function readAccount({ accountDir }: KubernetesOptions, name: string): Promise<string> {
  const path = join(accountDir, name);
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    throw notConfigured(`The service account's file ${path} cannot be read`, error);
  }
}

function decodeData({ data }: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(isJsonObject(data) ? data : {}).map(([key, text]) => [
      key,
      Buffer.from(String(text), "base64").toString("utf8"),
    ]),
  );
}

/** @throws AppError not_found SECRET_NOT_FOUND. */
export function pickKey(fields: JsonObject, what: string, key: Json | undefined): Json {
  if (key === undefined || key === null) {
    return fields;
  }
  const value = Object.hasOwn(fields, String(key)) ? fields[String(key)] : undefined;
  if (value === undefined) {
    const known = Object.keys(fields).join(", ");
    const message = `${what} has no ${String(key)}; it has ${known === "" ? "nothing" : known}`;
    throw new AppError("not_found", "SECRET_NOT_FOUND", message);
  }
  return value;
}
