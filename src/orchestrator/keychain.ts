/**
 * The keychain of an execution: entries of its playbook, values that somebody set for it over the
 * API, entries of the playbooks that called it, and else the credential of that name; in this order.
 *
 * Nothing is fetched before a command asks. Templates in an entry see the workload and other entries.
 */
import { createHash } from "node:crypto";
import { AppError } from "../core/errors.ts";
import type { CatalogId, ExecutionId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { keychainKind } from "../dsl/keychain.ts";
import type { ExecutionState } from "../engine/state.ts";
import { startOf } from "../engine/state.ts";
import type { KeychainScope } from "../store/keychain.ts";
import { TemplateFault } from "../template/error.ts";
import { mentionedPaths } from "../template/mentions.ts";
import { lookUp } from "../template/path.ts";
import { renderValue } from "../template/render.ts";
import type { Scope } from "../template/scope.ts";
import { Aliased } from "../template/scope.ts";
import type { CacheRequest, KeychainCache } from "./keychain-cache.ts";
import { fetchEntry } from "./keychain-entry.ts";
import type { PlaybookCache } from "./playbook-cache.ts";
import type { SecretSource, SecretValue } from "./secret-source.ts";
import { readVersion } from "./secret-source.ts";

/** Playbooks that called each other, at most. */
const PARENTS_MAX = 20;
const CATALOG_IDS_MAX = 1000;

export interface KeychainOptions {
  readonly state: (id: ExecutionId) => Promise<ExecutionState | undefined>;
  readonly playbooks: Pick<PlaybookCache, "find">;
  readonly source: SecretSource;
  readonly cache: KeychainCache;
}

/** An execution as its keychain sees it. */
interface Owner {
  readonly executionId: ExecutionId;
  readonly catalogId: CatalogId;
  readonly path: string;
  readonly entries: readonly JsonObject[];
  readonly workload: JsonObject;
  readonly parent: ExecutionId | undefined;
}

interface Question {
  readonly alias: string;
  readonly refusedVersion?: string | undefined;
  /** Fetch it anew although it holds. */
  readonly isRenewal?: boolean;
  /** Entries that wait for this one. */
  readonly trail?: readonly string[];
}

/** Names of rows that somebody set over the API. */
export function keychainKey(
  name: string,
  scope: KeychainScope,
  {
    catalogId,
    executionId,
  }: { readonly catalogId: string; readonly executionId?: string | undefined },
): string {
  switch (scope) {
    case "local":
      return `${name}:${catalogId}:${executionId ?? ""}`;
    case "global":
      return `${name}:${catalogId}:global`;
    case "shared":
      return `${name}:shared`;
  }
}

export class Keychain {
  readonly #options: KeychainOptions;
  readonly #catalogIds = new Map<string, CatalogId>();

  constructor(options: KeychainOptions) {
    this.#options = options;
  }

  /**
   * The fields of an entry.
   *
   * @throws AppError that names the cause: not_found KEYCHAIN_NOT_FOUND, invalid
   *   KEYCHAIN_ENTRY_INVALID or KEYCHAIN_CYCLE, and what credentials and providers throw.
   */
  async resolve(executionId: ExecutionId, question: Question): Promise<SecretValue> {
    return await this.#resolve(await this.#owner(executionId), question);
  }

  /** True if the execution's playbook, or one that called it, has such an entry. */
  async has(executionId: ExecutionId, alias: string): Promise<boolean> {
    return (await this.#declared(await this.#owner(executionId), alias)) !== undefined;
  }

  async #resolve(owner: Owner, question: Question): Promise<SecretValue> {
    const { alias, trail = [] } = question;
    if (trail.includes(alias)) {
      const circle = [...trail, alias].join(" → ");
      throw new AppError("invalid", "KEYCHAIN_CYCLE", `its entries need each other: ${circle}`);
    }
    const declared = await this.#declared(owner, alias);
    if (declared !== undefined) {
      return await this.#resolveEntry(declared.owner, declared.entry, question);
    }
    const { executionId } = owner;
    const set = await this.#options.cache.find([
      keychainKey(alias, "local", { ...owner, executionId }),
      keychainKey(alias, "global", owner),
      keychainKey(alias, "shared", owner),
    ]);
    if (set !== undefined) {
      return { data: set.data, version: "" };
    }
    const row = await this.#options.source.find(alias);
    if (row === undefined) {
      throw notFound(owner);
    }
    const opened = await this.#options.source.openRow(row);
    const value = await this.#options.source.value(opened, question.refusedVersion);
    return { ...value, data: { ...opened.data, ...value.data } };
  }

  /** The entry of the playbook, or of the nearest one that called it. */
  async #declared(owner: Owner, alias: string) {
    let current: Owner | undefined = owner;
    for (let depth = 0; current !== undefined && depth <= PARENTS_MAX; depth++) {
      const entry: JsonObject | undefined = current.entries.find(({ name }) => name === alias);
      if (entry !== undefined) {
        return { owner: current, entry };
      }
      current = current.parent === undefined ? undefined : await this.#owner(current.parent);
    }
    return undefined;
  }

  async #resolveEntry(owner: Owner, entry: JsonObject, question: Question): Promise<SecretValue> {
    const { source, cache } = this.#options;
    const fetch = async (kept: JsonObject | undefined) =>
      await fetchEntry(source, await this.#render(owner, entry, question), kept);
    if (!(await this.#isCached(owner, entry, question))) {
      return { data: (await fetch(undefined)).data, version: "" };
    }
    const request: CacheRequest = {
      place: this.#place(owner, entry),
      isAutoRenewed: entry["auto_renew"] === true || entry["auto_renew"] === "true",
      refusedVersion: readVersion(question.refusedVersion),
      fetch,
    };
    const isRenewal = question.isRenewal === true;
    const value = await (isRenewal ? cache.renew(request) : cache.get(request));
    return { data: value.data, version: String(value.version) };
  }

  /** What costs nothing to find, and what somebody may change at any time, is not kept. */
  async #isCached(owner: Owner, entry: JsonObject, question: Question): Promise<boolean> {
    const kind = keychainKind(entry);
    const isNamed = typeof (entry["credential"] ?? entry["auth"] ?? entry["ref"]) === "string";
    if (kind === "static" || kind === undefined) {
      return false;
    }
    if (kind === "credential" || (kind === "bearer" && entry["provider"] === undefined)) {
      if (!isNamed) {
        return false;
      }
      const rendered = await this.#render(owner, entry, question);
      const name = rendered["credential"] ?? rendered["auth"] ?? rendered["ref"];
      return (await this.#options.source.open(String(name))).token !== undefined;
    }
    return true;
  }

  /** Entries that come to something else with another workload are kept apart. */
  #place(owner: Owner, entry: JsonObject): CacheRequest["place"] {
    const name = String(entry["name"]);
    const scope = scopeOf(entry);
    const reads = mentionedPaths(entry)
      .filter(({ root }) => root !== "keychain")
      .map((path) => lookUp(path, this.#names(owner)) ?? null);
    const print = createHash("sha256")
      .update(JSON.stringify([entry, reads]))
      .digest("hex");
    return {
      cacheKey: `${keychainKey(name, scope, owner)}:${print.slice(0, 16)}`,
      name,
      scope,
      catalogId: scope === "shared" ? undefined : owner.catalogId,
      executionId: owner.executionId,
    };
  }

  /** The entry without templates; entries that it reads are resolved first. */
  async #render(owner: Owner, entry: JsonObject, question: Question): Promise<JsonObject> {
    const trail = [...(question.trail ?? []), question.alias];
    const others = new Map<string, JsonObject>();
    for (const { root, steps } of mentionedPaths(entry)) {
      const [alias] = steps;
      if (root === "keychain" && alias !== undefined && !others.has(String(alias))) {
        others.set(String(alias), await this.#needed(owner, { alias: String(alias), trail }));
      }
    }
    const names = this.#names(owner);
    const keychain = keychainNames((alias) => others.get(alias));
    const scope = { ...names, names: { ...names.names, keychain } };
    return renderValue(entry, scope) as JsonObject;
  }

  /** The fields of an entry that another one reads. */
  async #needed(owner: Owner, question: Question): Promise<JsonObject> {
    try {
      return (await this.#resolve(owner, question)).data;
    } catch (error) {
      throw withAlias(question.alias, error);
    }
  }

  #names({ workload, executionId, path }: Owner): Scope {
    return {
      names: { path, execution_id: executionId, ...workload, workload },
      resolved: new Map<string, Json>(),
      nowMs: Date.now(),
    };
  }

  async #owner(executionId: ExecutionId): Promise<Owner> {
    const state = await this.#options.state(executionId);
    if (state?.start === undefined) {
      throw new AppError(
        "not_found",
        "EXECUTION_NOT_FOUND",
        `There is no execution ${executionId}`,
      );
    }
    const { path, version, workload, parent } = startOf(state);
    const entries = state.playbook.keychain;
    const catalogId = await this.#catalogId(path, version);
    return { executionId, catalogId, path, entries, workload, parent: parent?.executionId };
  }

  /** Versions never change. */
  async #catalogId(path: string, version: number): Promise<CatalogId> {
    const key = `${path}@${version}`;
    const known = this.#catalogIds.get(key);
    if (known !== undefined) {
      return known;
    }
    const found = await this.#options.playbooks.find({ path, version });
    if (found === undefined) {
      throw new AppError("not_found", "PLAYBOOK_NOT_FOUND", `There is no playbook ${key}`);
    }
    if (this.#catalogIds.size >= CATALOG_IDS_MAX) {
      this.#catalogIds.clear();
    }
    this.#catalogIds.set(key, found.catalogId);
    return found.catalogId;
  }
}

function scopeOf(entry: JsonObject): KeychainScope {
  const { scope } = entry;
  return scope === "global" || scope === "shared" ? scope : "local";
}

function notFound({ path, entries }: Owner): AppError {
  const known = entries.map(({ name }) => String(name)).join(", ");
  const has = known === "" ? "has no keychain" : `has ${known}`;
  const message = `playbook ${path} ${has}, and there is no credential of that name`;
  return new AppError("not_found", "KEYCHAIN_NOT_FOUND", message);
}

/** `keychain.*` over resolved entries. A field that an entry lacks is a fault, not nothing. */
function keychainNames(find: (alias: string) => JsonObject | undefined): Aliased {
  const alias = (name: string): Aliased | undefined => {
    const data = find(name);
    const missing = (field: string): never => {
      throw new TemplateFault(`keychain entry ${name} has no field ${field}`);
    };
    return data === undefined ? undefined : new Aliased(data, missing);
  };
  return new Aliased({}, alias, {}, true);
}

function withAlias(alias: string, error: unknown): unknown {
  if (!(error instanceof AppError)) {
    return error;
  }
  const message = `it needs the entry "${alias}": ${error.message}`;
  const { kind, code, details } = error;
  return new AppError(kind, code, message, details === undefined ? {} : { details });
}
