/**
 * The `keychain` of a playbook: secrets by alias, which tasks read as `{{ keychain.alias.field }}`.
 * Values are known to workers alone, so templates that decide a route cannot read them.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { mentionedPaths } from "../template/mentions.ts";
import { suggestion } from "../template/nearest.ts";
import { checkTemplates } from "./expression.ts";
import { Fields } from "./report.ts";
import { joinPath } from "./yaml.ts";

export const KEYCHAIN_KINDS = [
  "secrets",
  "oauth2",
  "credential",
  "google_id_token",
  "bearer",
  "static",
] as const;
export type KeychainKind = (typeof KEYCHAIN_KINDS)[number];

/** Other names of the kinds. */
const ALIASES: Readonly<Record<string, KeychainKind>> = {
  secret: "secrets",
  secret_manager: "secrets",
  credentials: "credential",
  oauth: "oauth2",
  client_credentials: "oauth2",
  id_token: "google_id_token",
};

const SCOPES = ["local", "global", "shared"];

/** What an entry is; undefined when neither its kind nor its fields say it. */
export function keychainKind(entry: JsonObject): KeychainKind | undefined {
  const { kind } = entry;
  if (typeof kind === "string") {
    const name = kind.trim().toLowerCase();
    return KEYCHAIN_KINDS.find((one) => one === name) ?? ALIASES[name];
  }
  if (entry["provider"] !== undefined) {
    return "secrets";
  }
  if (entry["target_audience"] !== undefined) {
    return "google_id_token";
  }
  if (entry["endpoint"] !== undefined) {
    return "oauth2";
  }
  if (entry["credential"] !== undefined) {
    return "credential";
  }
  return entry["token"] === undefined ? undefined : "bearer";
}

/** Reports KEYCHAIN_INVALID, KEYCHAIN_DUPLICATE and, as warnings, odd kinds and scopes. */
export function readKeychain(root: Fields): readonly JsonObject[] {
  const seen = new Set<string>();
  return root.list("keychain").map((item, index) => {
    const entry = Fields.of(root.report, item, `${root.at("keychain")}[${index}]`);
    const name = entry.text("name");
    if (name === undefined) {
      root.report.error("KEYCHAIN_INVALID", entry.path, 'a keychain entry needs a "name"');
    } else if (seen.has(name)) {
      entry.error("KEYCHAIN_DUPLICATE", "name", `two keychain entries are named "${name}"`);
    }
    seen.add(name ?? "");
    checkKind(entry);
    checkScope(entry);
    checkRegions(entry);
    checkTemplates(entry.report, entry.map, entry.path);
    return entry.map;
  });
}

function checkKind(entry: Fields): void {
  if (keychainKind(entry.map) !== undefined) {
    return;
  }
  const kind = entry.text("kind");
  const message =
    kind === undefined
      ? "the entry says neither its kind nor a provider, credential, endpoint or token"
      : `"${kind}" is no kind of keychain entry: ${KEYCHAIN_KINDS.join(", ")}`;
  entry.warn("KEYCHAIN_KIND_UNKNOWN", "kind", `${message}; tasks that read it will fail`);
}

function checkScope(entry: Fields): void {
  const scope = entry.text("scope");
  if (scope !== undefined && !SCOPES.includes(scope)) {
    entry.warn("KEYCHAIN_SCOPE_UNKNOWN", "scope", `scope is ${SCOPES.join(", ")}; taken as local`);
  }
}

const REGION_KEYS = ["region", "residency", "allowed_regions", "no_broker_fallback"];

/** Nothing here keeps secrets within a region: who demands it must know. */
function checkRegions(entry: Fields): void {
  if (entry.get("residency") === "strict") {
    const message = "residency strict cannot be kept: this platform knows no regions";
    entry.error("RESIDENCY_UNSUPPORTED", "residency", message);
    return;
  }
  for (const key of REGION_KEYS.filter((name) => entry.has(name))) {
    entry.warn("FIELD_IGNORED", key, `${key} has no effect: this platform knows no regions`);
  }
}

/** Parts of a step that the server evaluates. */
const ROUTING_KEYS: ReadonlySet<string> = new Set(["loop", "next", "set", "when", "case"]);

/**
 * Warns of templates that read the keychain where it is not known (KEYCHAIN_ON_SERVER), that read
 * all of it (KEYCHAIN_WHOLE), or an alias that the playbook does not have (KEYCHAIN_UNKNOWN).
 */
export function checkKeychainUse(root: Fields, entries: readonly JsonObject[]): void {
  const aliases = entries.map(({ name }) => String(name));
  for (const [index, step] of root.list("workflow").entries()) {
    const path = `${root.at("workflow")}[${index}]`;
    for (const [key, value] of Object.entries(isJsonObject(step) ? step : {})) {
      const isRouting = ROUTING_KEYS.has(key);
      visitTexts(value, joinPath(path, key), (text, place) => {
        checkText(root, { text, place, isRouting: isRouting || isTaskSet(place), aliases });
      });
    }
  }
}

/** A task's `set`: what it writes is stored, and so would show the mask in place of the secret. */
function isTaskSet(place: string): boolean {
  return /\.set[.[]/.test(place);
}

function checkText(
  root: Fields,
  use: {
    readonly text: string;
    readonly place: string;
    readonly isRouting: boolean;
    readonly aliases: readonly string[];
  },
): void {
  const { text, place, aliases } = use;
  for (const { root: name, steps } of mentionedPaths(text)) {
    if (name !== "keychain") {
      continue;
    }
    const [alias] = steps;
    if (use.isRouting) {
      const message =
        "secrets of the keychain are known to workers alone and are never stored: read them in the fields of a task, not in loop, set, next or when";
      root.report.warn("KEYCHAIN_ON_SERVER", place, message);
    } else if (alias === undefined) {
      const message = "name the entry: keychain.alias.field";
      root.report.warn("KEYCHAIN_WHOLE", place, message);
    } else if (!aliases.includes(String(alias))) {
      const message = `the playbook's keychain has no entry "${alias}"${suggestion(String(alias), aliases)}; a credential of that name, or an entry of a parent, would do`;
      root.report.warn("KEYCHAIN_UNKNOWN", place, message);
    }
  }
}

function visitTexts(value: Json, path: string, visit: (text: string, path: string) => void): void {
  if (typeof value === "string") {
    const isGuard = path.endsWith(".when") && !value.includes("{{") && !value.includes("{%");
    if (value.includes("keychain")) {
      visit(isGuard ? `{{ ${value} }}` : value, path);
    }
  } else if (Array.isArray(value)) {
    for (const [index, item] of (value as readonly Json[]).entries()) {
      visitTexts(item, `${path}[${index}]`, visit);
    }
  } else if (isJsonObject(value)) {
    for (const [key, inner] of Object.entries(value)) {
      visitTexts(inner, joinPath(path, key), visit);
    }
  }
}
