/**
 * References to secrets that are kept elsewhere: `{provider: vault, path: apps/db, field: password}`
 * in place of a credential's data, or of one of its fields. The server resolves them when the
 * credential is used; what is stored is the reference.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";

export const PROVIDERS = ["env", "file", "kubernetes", "vault", "gcp"] as const;
export type ProviderName = (typeof PROVIDERS)[number];

export interface Reference extends JsonObject {
  readonly provider: ProviderName;
}

/** Fields that a reference must have, by provider, and may have. */
const FIELDS: Readonly<
  Record<ProviderName, { readonly needs: readonly string[]; readonly takes: readonly string[] }>
> = {
  env: { needs: ["name"], takes: [] },
  file: { needs: ["path"], takes: [] },
  kubernetes: { needs: ["name"], takes: ["key", "namespace"] },
  vault: { needs: ["path"], takes: ["field", "mount", "version"] },
  gcp: { needs: ["path"], takes: ["auth"] },
};

/** Older and cloud names of the providers. */
const ALIASES: Readonly<Record<string, ProviderName>> = {
  environment: "env",
  k8s: "kubernetes",
  hashicorp: "vault",
  gcp_secret_manager: "gcp",
  google: "gcp",
};

export function providerName(name: Json | undefined): ProviderName | undefined {
  const text = typeof name === "string" ? name.trim().toLowerCase() : "";
  return PROVIDERS.find((one) => one === text) ?? ALIASES[text];
}

/** True for a map with `provider` and a field that such a reference needs. */
export function isReference(value: Json | undefined): value is Reference {
  if (!isJsonObject(value)) {
    return false;
  }
  const provider = providerName(value["provider"]);
  return provider !== undefined && FIELDS[provider].needs.some((key) => key in value);
}

/** What is wrong with a reference, each a sentence. */
export function checkReference(reference: Reference, place: string): readonly string[] {
  const provider = providerName(reference.provider);
  if (provider === undefined) {
    return [`${place}: there is no provider "${String(reference.provider)}"`];
  }
  const { needs, takes } = FIELDS[provider];
  const missing = needs.filter(
    (key) => typeof reference[key] !== "string" || reference[key] === "",
  );
  const known = new Set(["provider", ...needs, ...takes]);
  const unknown = Object.keys(reference).filter((key) => !known.has(key));
  return [
    ...missing.map((key) => `${place}: provider ${provider} needs ${key}`),
    ...unknown.map((key) => `${place}: provider ${provider} takes no ${key}`),
  ];
}

/**
 * The reference that a keychain entry's `map` writes as a text: the name of a variable, a path below
 * the secrets' folder, `[namespace/]secret/key`, `[mount/data/]path#field`, or a resource name.
 */
export function parseReference(provider: ProviderName, text: string): Reference {
  switch (provider) {
    case "env":
      return { provider, name: text };
    case "file":
      return { provider, path: text };
    case "gcp":
      return { provider, path: text };
    case "kubernetes":
      return parseKubernetes(text);
    case "vault":
      return parseVault(text);
  }
}

function parseKubernetes(text: string): Reference {
  const [first = "", second, third] = text.split("/");
  if (second === undefined) {
    return { provider: "kubernetes", name: first };
  }
  return third === undefined
    ? { provider: "kubernetes", name: first, key: second }
    : { provider: "kubernetes", namespace: first, name: second, key: third };
}

function parseVault(text: string): Reference {
  const [whole = "", field] = text.split("#", 2);
  const [mount, path] = whole.split("/data/", 2);
  const place: JsonObject = path === undefined ? { path: whole } : { mount: mount ?? "", path };
  return { provider: "vault", ...place, ...(field === undefined ? {} : { field }) };
}
