/** What the options mean together: cross-checks, and defaults that depend on the machine. */
import { isIP } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { Secret } from "../core/secret.ts";
import type { Values } from "./option.ts";
import type { Fault } from "./read.ts";
import type {
  databaseOptions,
  listenOptions,
  natsOptions,
  resultOptions,
  secretOptions,
  tlsOptions,
  workerOptions,
} from "./tables.ts";

type ListenValues = Pick<
  Values<typeof listenOptions>,
  "host" | "token" | "workerToken" | "insecure"
>;
type DatabaseValues = Values<typeof databaseOptions>;
type VaultValues = Pick<Values<typeof secretOptions>, "vaultAddr" | "vaultToken" | "vaultRole">;
type ResultValues = Values<typeof resultOptions>;
type NatsValues = Pick<Values<typeof natsOptions>, "natsUser" | "natsPassword">;

type TlsValues = Values<typeof tlsOptions>;
type WorkerTlsValues = Pick<
  Values<typeof workerOptions>,
  "server" | "grpcCaFile" | "tlsCert" | "tlsKey"
>;

export function checkServer(
  values: ListenValues &
    DatabaseValues &
    NatsValues &
    VaultValues &
    ResultValues &
    Partial<TlsValues>,
): readonly Fault[] {
  return [
    ...checkListen(values),
    ...checkTlsPair(values),
    ...checkClientAuthority(values),
    ...checkDatabase(values),
    ...checkNats(values),
    ...checkVault(values),
    ...checkResults(values),
  ];
}

/** @returns faults of a store in S3 that lacks what it needs. */
function checkResults(values: ResultValues): readonly Fault[] {
  const needed = {
    NOETL_S3_BUCKET: values.s3Bucket,
    NOETL_S3_ACCESS_KEY: values.s3AccessKey,
    NOETL_S3_SECRET_KEY: values.s3SecretKey,
  };
  return values.resultStore === "s3"
    ? Object.entries(needed)
        .filter(([, value]) => value === undefined)
        .map(([name]) => ({ name, message: "is required with NOETL_RESULT_STORE=s3" }))
    : [];
}

export function checkWorker(
  values: NatsValues & WorkerTlsValues & Pick<Values<typeof workerOptions>, "pool">,
): readonly Fault[] {
  const missing = { name: "--pool", message: "is required: the pool whose commands to run" };
  return [
    ...(values.pool === undefined ? [missing] : []),
    ...checkNats(values),
    ...checkTlsPair(values),
    ...checkTlsAddresses(values),
  ];
}

/** A certificate and its key come together. */
export function checkTlsPair({ tlsCert, tlsKey }: Partial<TlsValues>): readonly Fault[] {
  if ((tlsCert === undefined) === (tlsKey === undefined)) {
    return [];
  }
  const [name, other] =
    tlsCert === undefined
      ? ["NOETL_TLS_CERT", "NOETL_TLS_KEY"]
      : ["NOETL_TLS_KEY", "NOETL_TLS_CERT"];
  return [{ name, message: `is required with ${other}` }];
}

function checkClientAuthority({ tlsCert, tlsClientCa }: Partial<TlsValues>): readonly Fault[] {
  return tlsClientCa !== undefined && tlsCert === undefined
    ? [{ name: "NOETL_TLS_CERT", message: "is required with NOETL_TLS_CLIENT_CA" }]
    : [];
}

/** Who names an authority or a certificate believes that TLS is used. */
function checkTlsAddresses({
  server = [],
  grpcCaFile,
  tlsCert,
}: Partial<WorkerTlsValues>): readonly Fault[] {
  const secure = server.filter((address) => address.startsWith("tls://"));
  const given = { NOETL_GRPC_CA_FILE: grpcCaFile, NOETL_TLS_CERT: tlsCert };
  const unused = Object.entries(given).filter(
    ([, value]) => value !== undefined && secure.length === 0,
  );
  const numbers = secure.filter((address) => isIP(address.slice(6).replace(/:\d+$/, "")) !== 0);
  return [
    ...unused.map(([name]) => ({
      name,
      message: "is for tls:// addresses, and NOETL_GRPC_ADDRESS (--server) has none",
    })),
    ...numbers.map((address) => ({
      name: "NOETL_GRPC_ADDRESS",
      message: `must have the name that the server's certificate is for, not the number ${address}`,
    })),
  ];
}

/** True for addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

function checkListen({ host, token, workerToken, insecure }: ListenValues): readonly Fault[] {
  const tokens = { NOETL_TOKEN: token, NOETL_WORKER_TOKEN: workerToken };
  return isLoopback(host) || insecure
    ? []
    : Object.entries(tokens)
        .filter(([, value]) => value === undefined)
        .map(([name]) => ({
          name,
          message: `is required to listen on ${host}, where other machines can call; --insecure allows it without`,
        }));
}

function checkDatabase({ databaseUrl, postgresHost }: DatabaseValues): readonly Fault[] {
  return databaseUrl !== undefined && postgresHost !== undefined
    ? [{ name: "DATABASE_URL", message: "cannot be given together with POSTGRES_HOST" }]
    : [];
}

function checkNats({ natsUser, natsPassword }: NatsValues): readonly Fault[] {
  return natsPassword !== undefined && natsUser === undefined
    ? [{ name: "NATS_USER", message: "is required with NATS_PASSWORD" }]
    : [];
}

function checkVault({ vaultAddr, vaultToken, vaultRole }: VaultValues): readonly Fault[] {
  return vaultAddr !== undefined && vaultToken === undefined && vaultRole === undefined
    ? [{ name: "VAULT_TOKEN", message: "or NOETL_VAULT_ROLE is required with VAULT_ADDR" }]
    : [];
}

/** The URL of the platform's database; undefined: an embedded one is wanted. */
export function databaseUrlOf(values: DatabaseValues): Secret | undefined {
  const { postgresHost, postgresPort, postgresUser, postgresPassword, postgresDatabase } = values;
  if (values.databaseUrl !== undefined || postgresHost === undefined) {
    return values.databaseUrl;
  }
  const url = new URL(`postgres://${postgresHost}:${postgresPort}`);
  url.username = encodeURIComponent(postgresUser);
  url.password = encodeURIComponent(postgresPassword?.reveal() ?? "");
  url.pathname = `/${encodeURIComponent(postgresDatabase)}`;
  return new Secret(url.toString());
}

export function dataDirOf(values: { readonly dataDir: string | undefined }): string {
  return values.dataDir ?? join(homedir(), ".noetl");
}

/** Folder of what a user has set for the client commands. */
export function configDirOf(
  values: { readonly configDir: string | undefined },
  env: Readonly<Record<string, string | undefined>>,
): string {
  const base = env["XDG_CONFIG_HOME"] || join(homedir(), ".config");
  return values.configDir ?? join(base, "noetl");
}

/** Where the folders of tasks in containers are. */
export function containerDirOf(values: { readonly containerDir: string | undefined }): string {
  return values.containerDir ?? join(homedir(), ".noetl", "containers");
}

/** Where relative paths of tasks lead to. */
export function filesDirOf(values: { readonly filesDir: string | undefined }): string {
  return values.filesDir ?? join(homedir(), ".noetl", "files");
}
