/** The keys and the sources of secrets that a server was told of. */
import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Values } from "../config/option.ts";
import type { Environment } from "../config/read.ts";
import type { secretOptions } from "../config/tables.ts";
import type { ServerMetrics } from "../observability/metrics.ts";
import { loadOrCreateKeys, parseKey, parseKeys } from "../secrets/key.ts";
import type { KubernetesOptions } from "../secrets/provider/kubernetes.ts";
import type { VaultOptions } from "../secrets/provider/vault.ts";
import type { Providers } from "../secrets/providers.ts";
import { createProviders } from "../secrets/providers.ts";
import type { Sealer } from "../secrets/sealing.ts";
import { createSealer } from "../secrets/sealing.ts";

type SecretValues = Values<typeof secretOptions>;

/** @throws AppError SEAL_KEY_INVALID, SEAL_KEY_EXPOSED. */
export async function openSealer(values: SecretValues, dataDir: string): Promise<Sealer> {
  const older = parseKeys(values.encryptionOldKeys?.reveal() ?? "");
  if (values.encryptionKey !== undefined) {
    return createSealer(parseKey(values.encryptionKey.reveal()), older);
  }
  mkdirSync(dataDir, { recursive: true });
  const [current, ...others] = await loadOrCreateKeys(join(dataDir, "encryption.key"));
  return createSealer(current, [...others, ...older]);
}

export async function openProviders(
  values: SecretValues,
  env: Environment,
  metrics: Pick<ServerMetrics, "secretReads" | "secretReadSeconds">,
): Promise<Providers> {
  return createProviders({
    env: Object.fromEntries(values.secretEnv.map((name) => [name, env[name]])),
    fileDir: values.secretDir,
    kubernetes: kubernetesOf(values, env),
    vault: await vaultOf(values),
    cacheMs: values.secretCacheTime,
    onRead: (provider, outcome, seconds) => {
      metrics.secretReads.inc(provider, outcome);
      metrics.secretReadSeconds.observe(seconds, provider);
    },
  });
}

/** Pods are told where their cluster's API is. */
function kubernetesOf(values: SecretValues, env: Environment): KubernetesOptions | undefined {
  const host = env["KUBERNETES_SERVICE_HOST"];
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "443";
  const found =
    host === undefined || host === ""
      ? undefined
      : `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const url = values.kubernetesUrl ?? found;
  return url === undefined
    ? undefined
    : { url: url.replace(/\/+$/, ""), accountDir: values.kubernetesDir };
}

async function vaultOf(values: SecretValues): Promise<VaultOptions | undefined> {
  const { vaultAddr, vaultToken, vaultRole, vaultAuthPath, vaultCaFile, kubernetesDir } = values;
  if (vaultAddr === undefined) {
    return undefined;
  }
  return {
    url: vaultAddr.replace(/\/+$/, ""),
    namespace: values.vaultNamespace,
    ca: vaultCaFile === undefined ? undefined : await readFile(vaultCaFile, "utf8"),
    login:
      vaultToken === undefined
        ? {
            kind: "kubernetes",
            role: vaultRole ?? "",
            mount: vaultAuthPath,
            tokenFile: join(kubernetesDir, "token"),
          }
        : { kind: "token", token: vaultToken.reveal() },
  };
}
