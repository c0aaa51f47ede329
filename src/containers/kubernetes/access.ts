/**
 * How a worker reaches the API of its cluster: as the service account of its pod, or by a kubeconfig that
 * a setting names. A developer's own kubeconfig (`KUBECONFIG`, `~/.kube/config`) is never looked at.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage } from "../../core/errors.ts";
import { ContainerError } from "../runtime.ts";

export interface ClusterOptions {
  /** `KUBERNETES_SERVICE_HOST`, set in every pod of a cluster. */
  readonly serviceHost?: string;
  readonly servicePort?: string;
  /** Folder with token, ca.crt and namespace of the pod's service account. */
  readonly accountDir: string;
  /** Named by a setting; wins over the pod's account. */
  readonly kubeconfig?: string;
  /** Of the kubeconfig; default: its current one. */
  readonly context?: string;
  /** Default: the pod's own, or that of the context, or `noetl`. */
  readonly namespace?: string;
}

export interface ClusterAccess {
  /** Without a slash at its end. */
  readonly server: string;
  /** Of Jobs that name none. */
  readonly namespace: string;
  /** Tokens are exchanged under way, so ask for each request. @param isRefused the last ones were. */
  credentials(isRefused: boolean): Promise<Credentials>;
}

export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsOptions;
}

export interface TlsOptions {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly rejectUnauthorized?: boolean;
  readonly serverName?: string;
}

/** A token of a pod lives an hour and is exchanged long before its end. */
const CREDENTIALS_AGE_MS = 60_000;
const DEFAULT_NAMESPACE = "noetl";

/** True in a pod of a cluster, and where a setting names a kubeconfig. */
export function hasCluster({ kubeconfig, serviceHost, accountDir }: ClusterOptions): boolean {
  const isPod = serviceHost !== undefined && existsSync(join(accountDir, "token"));
  return kubeconfig !== undefined || isPod;
}

/** @throws ContainerError when there is no cluster, or what leads to it cannot be read. */
export async function openCluster(options: ClusterOptions): Promise<ClusterAccess> {
  const { kubeconfig, serviceHost, servicePort = "443" } = options;
  try {
    if (kubeconfig !== undefined) {
      return await kubeconfigAccess(kubeconfig, options);
    }
    if (serviceHost !== undefined && hasCluster(options)) {
      return await accountAccess(serviceHost, servicePort, options);
    }
  } catch (error) {
    throw unreadable(error);
  }
  throw new ContainerError(
    "not_found",
    "KUBERNETES_ABSENT",
    "this worker is no pod of a cluster with a service account's token, and NOETL_KUBECONFIG names no other",
  );
}

function unreadable(error: unknown): ContainerError {
  return new ContainerError("auth", "KUBERNETES_ACCESS", errorMessage(error));
}

async function accountAccess(
  host: string,
  port: string,
  { accountDir, namespace }: ClusterOptions,
): Promise<ClusterAccess> {
  const ca = await readFile(join(accountDir, "ca.crt"), "utf8");
  const own = await readFile(join(accountDir, "namespace"), "utf8").catch(() => "");
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    namespace: namespace ?? (own.trim() || DEFAULT_NAMESPACE),
    credentials: remembered(async () => {
      const token = (await readFile(join(accountDir, "token"), "utf8")).trim();
      return { headers: { authorization: `Bearer ${token}` }, tls: { ca } };
    }),
  };
}

/** Loads the package that understands kubeconfigs only here: a worker without one does not pay for it. */
async function kubeconfigAccess(
  file: string,
  { context, namespace }: ClusterOptions,
): Promise<ClusterAccess> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromFile(file);
  if (context !== undefined) {
    config.setCurrentContext(context);
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) {
    throw new Error(`${file} has no cluster for the context "${config.getCurrentContext()}"`);
  }
  const chosen = config.getContextObject(config.getCurrentContext());
  return {
    server: cluster.server.replace(/\/+$/, ""),
    namespace: namespace ?? chosen?.namespace ?? DEFAULT_NAMESPACE,
    credentials: remembered(async () => {
      const found: FoundOptions = {};
      await config.applyToHTTPSOptions(found);
      return { headers: headersOf(found), tls: tlsOf(found, cluster.tlsServerName) };
    }),
  };
}

/** What the package fills in of the options of a https request. */
interface FoundOptions {
  ca?: string | Buffer | (string | Buffer)[];
  cert?: string | Buffer | (string | Buffer)[];
  key?: unknown;
  auth?: string | null;
  headers?: unknown;
  rejectUnauthorized?: boolean;
}

function headersOf({ headers, auth }: FoundOptions): Record<string, string> {
  const basic =
    typeof auth === "string"
      ? { authorization: `Basic ${Buffer.from(auth).toString("base64")}` }
      : {};
  const given = Object.entries(typeof headers === "object" && headers !== null ? headers : {});
  return { ...basic, ...Object.fromEntries(given.map(([name, value]) => [name, String(value)])) };
}

function tlsOf(found: FoundOptions, serverName: string | undefined): TlsOptions {
  const { ca, cert, key, rejectUnauthorized } = found;
  return {
    ...(ca === undefined ? {} : { ca: String(ca) }),
    ...(cert === undefined ? {} : { cert: String(cert) }),
    ...(key === undefined ? {} : { key: String(key) }),
    ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
    ...(serverName === undefined ? {} : { serverName }),
  };
}

function remembered(read: () => Promise<Credentials>): ClusterAccess["credentials"] {
  let known: { readonly atMs: number; readonly credentials: Promise<Credentials> } | undefined;
  return async (isRefused) => {
    if (known === undefined || isRefused || Date.now() - known.atMs > CREDENTIALS_AGE_MS) {
      known = { atMs: Date.now(), credentials: read() };
      known.credentials.catch(() => {
        known = undefined;
      });
    }
    return await known.credentials;
  };
}
