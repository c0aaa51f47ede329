/**
 * Resolves references to secrets that are kept elsewhere. What was read is kept for a short time, so
 * that a loop of many commands does not ask for each; equal questions at the same time are asked once.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { readEnvironment } from "./provider/env.ts";
import { readSecretFile } from "./provider/file.ts";
import type { GcpOptions } from "./provider/gcp.ts";
import { readGcpSecret } from "./provider/gcp.ts";
import type { KubernetesOptions } from "./provider/kubernetes.ts";
import { readKubernetesSecret } from "./provider/kubernetes.ts";
import type { VaultOptions } from "./provider/vault.ts";
import { VaultProvider } from "./provider/vault.ts";
import type { ProviderName, Reference } from "./reference.ts";
import { isReference, providerName } from "./reference.ts";
import { notConfigured } from "./remote.ts";

export interface ProvidersOptions {
  /** Variables that may be read, by name; undefined: allowed but not set. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Folder below which files may be read; none: no files. */
  readonly fileDir?: string | undefined;
  readonly kubernetes?: KubernetesOptions | undefined;
  readonly vault?: VaultOptions | undefined;
  readonly gcp?: GcpOptions;
  /** How long an answer may be used again; default 60,000. */
  readonly cacheMs?: number | undefined;
  readonly onRead?: (provider: ProviderName, outcome: "ok" | "error", seconds: number) => void;
}

export interface Providers {
  /**
   * @param token gives one for `gcp`, whose secrets a credential opens.
   * @throws AppError unavailable (try again), forbidden, not_found, conflict, invalid.
   */
  read(reference: Reference, token?: () => Promise<string>): Promise<Json>;
}

const CACHE_MS = 60_000;
const CACHE_COUNT_MAX = 1000;

interface Kept {
  readonly value: Promise<Json>;
  readonly untilMs: number;
}

export function createProviders(options: ProvidersOptions): Providers {
  const { cacheMs = CACHE_MS, onRead } = options;
  const vault = new VaultProvider(options.vault);
  const kept = new Map<string, Kept>();
  const fetchNow = async (reference: Reference, token?: () => Promise<string>): Promise<Json> => {
    switch (providerName(reference.provider)) {
      case "env":
        return readEnvironment(reference, options.env ?? {});
      case "file":
        return await readSecretFile(reference, options.fileDir);
      case "kubernetes":
        return await readKubernetesSecret(reference, options.kubernetes);
      case "vault":
        return await vault.read(reference);
      case "gcp":
        if (token === undefined) {
          throw notConfigured("Provider gcp needs `auth`: the name of a credential of type gcp");
        }
        return await readGcpSecret(reference, await token(), options.gcp ?? {});
      case undefined:
        throw notConfigured(`There is no provider "${String(reference.provider)}"`);
    }
  };
  const measured: typeof fetchNow = async (reference, token) => {
    const startMs = performance.now();
    const provider = providerName(reference.provider) ?? "env";
    try {
      const value = await fetchNow(reference, token);
      onRead?.(provider, "ok", (performance.now() - startMs) / 1000);
      return value;
    } catch (error) {
      onRead?.(provider, "error", (performance.now() - startMs) / 1000);
      throw error;
    }
  };
  return {
    read: async (reference, token) => {
      const key = JSON.stringify(Object.entries(reference).sort());
      const known = kept.get(key);
      if (known !== undefined && known.untilMs > Date.now()) {
        return await known.value;
      }
      const value = measured(reference, token);
      kept.delete(key);
      kept.set(key, { value, untilMs: Date.now() + cacheMs });
      forgetOldest(kept);
      // A failure is not kept: the next command asks again.
      value.catch(() => kept.delete(key));
      return await value;
    },
  };
}

function forgetOldest(kept: Map<string, Kept>): void {
  for (const key of kept.keys()) {
    if (kept.size <= CACHE_COUNT_MAX) {
      return;
    }
    kept.delete(key);
  }
}

/** The data with what its references stand for. */
export async function resolveReferences(
  data: JsonObject,
  read: (reference: Reference) => Promise<Json>,
): Promise<JsonObject> {
  if (!Object.values(data).some(isReference)) {
    return data;
  }
  const entries = Object.entries(data).map(
    async ([key, value]): Promise<[string, Json]> => [
      key,
      isReference(value) ? await read(value) : value,
    ],
  );
  return Object.fromEntries(await Promise.all(entries));
}
