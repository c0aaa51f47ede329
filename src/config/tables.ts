/** Every option of the platform, by role. Times are in milliseconds once read. */
import {
  bytes,
  choice,
  duration,
  integer,
  list,
  optionalDuration,
  optionalPort,
  optionalText,
  port,
  secret,
  text,
  toggle,
  url,
} from "./option.ts";

const POOL_NAME = {
  pattern: /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/,
  mustBe: "pool names of letters, digits, - and _",
};

export const logOptions = {
  logLevel: choice({
    of: ["debug", "info", "warn", "error"],
    default: "info",
    description: "Lowest level of log lines that are written",
  }),
  logFormat: choice({
    of: ["auto", "json", "text"],
    default: "auto",
    description: "Form of log lines; auto: text on a terminal, otherwise json",
  }),
};

/** Names are OpenTelemetry's where it has one. */
export const traceOptions = {
  otlpEndpoint: url({
    env: "OTEL_EXPORTER_OTLP_ENDPOINT",
    schemes: ["http", "https"],
    hasFlag: false,
    description:
      "OpenTelemetry collector that gets traces, by OTLP over HTTP (protobuf) at its /v1/traces; none: no traces",
  }),
  otlpHeaders: secret(
    optionalText({
      env: "OTEL_EXPORTER_OTLP_HEADERS",
      placeholder: "name=value,…",
      hasFlag: false,
      description: "Headers for the collector, for example to authenticate",
    }),
  ),
  tracePercent: integer({
    hasFlag: false,
    default: 100,
    min: 0,
    max: 100,
    description:
      "Percentage of executions that are traced when nobody outside says; servers need the same",
  }),
};

export const folderOptions = {
  dataDir: optionalText({
    placeholder: "dir",
    description:
      "Folder of the embedded PostgreSQL and NATS and of the encryption key; default ~/.noetl",
  }),
  cacheDir: optionalText({
    placeholder: "dir",
    description:
      "Where programs are unpacked to; default ~/.cache/noetl, for root /var/cache/noetl",
  }),
};

export const databaseOptions = {
  databaseUrl: secret(
    url({
      env: "DATABASE_URL",
      schemes: ["postgres", "postgresql"],
      description: "PostgreSQL of the platform; neither this nor POSTGRES_HOST: an embedded one",
    }),
  ),
  postgresHost: optionalText({
    env: "POSTGRES_HOST",
    hasFlag: false,
    description: "Host of PostgreSQL, in place of DATABASE_URL",
  }),
  postgresPort: port({
    env: "POSTGRES_PORT",
    hasFlag: false,
    default: 5432,
    description: "Port on POSTGRES_HOST",
  }),
  postgresUser: text({
    env: "POSTGRES_USER",
    hasFlag: false,
    default: "noetl",
    description: "User for POSTGRES_HOST",
  }),
  postgresPassword: secret(
    optionalText({
      env: "POSTGRES_PASSWORD",
      hasFlag: false,
      description: "Password for POSTGRES_HOST",
    }),
  ),
  postgresDatabase: text({
    env: "POSTGRES_DATABASE",
    hasFlag: false,
    default: "noetl",
    description: "Database on POSTGRES_HOST",
  }),
  databasePool: integer({
    hasFlag: false,
    default: 12,
    min: 2,
    max: 500,
    description: "Connections that one server keeps to PostgreSQL at most",
  }),
};

/** Of `noetl db migrate`. */
export const migrateOptions = {
  databaseUrl: databaseOptions.databaseUrl,
  databaseWait: duration({
    default: "0s",
    description: "How long a PostgreSQL that is still starting is waited for",
  }),
};

export const natsOptions = {
  natsUrl: secret(
    url({
      env: "NATS_URL",
      schemes: ["nats", "tls"],
      description: "NATS server or comma-separated servers; none: an embedded one",
    }),
  ),
  natsUser: optionalText({ env: "NATS_USER", hasFlag: false, description: "User for NATS" }),
  natsPassword: secret(
    optionalText({
      env: "NATS_PASSWORD",
      hasFlag: false,
      description: "Password for NATS",
    }),
  ),
  natsStream: text({
    env: "NATS_STREAM",
    hasFlag: false,
    default: "NOETL_COMMANDS",
    description: "JetStream stream of the commands",
  }),
  natsSubject: text({
    env: "NATS_SUBJECT",
    hasFlag: false,
    default: "noetl.commands",
    description: "First part of the commands' subjects",
  }),
  natsConsumer: text({
    env: "NATS_CONSUMER",
    hasFlag: false,
    default: "noetl_worker",
    description: "First part of the consumers' names; the pool follows",
  }),
  natsMaxAckPending: integer({
    env: "NATS_MAX_ACK_PENDING",
    hasFlag: false,
    default: 10_000,
    min: 1,
    max: 1_000_000,
    description: "Notifications of one pool that may be unacknowledged at a time",
  }),
  natsReplicas: integer({
    env: "NATS_REPLICAS",
    hasFlag: false,
    default: 1,
    min: 1,
    max: 5,
    description:
      "Servers of a NATS cluster that keep a copy of each stream; 1: existing streams stay as they are. Servers and workers need the same",
  }),
};

export const listenOptions = {
  host: text({
    default: "127.0.0.1",
    description: "Address to listen on, for HTTP and gRPC",
  }),
  port: port({ default: 8082, description: "Port of the HTTP API and page; 0: any free one" }),
  grpcPort: port({ default: 9082, description: "Port of the gRPC services; 0: any free one" }),
  token: secret(
    optionalText({
      hasFlag: false,
      description: "Bearer token that the HTTP API asks for and client commands send",
    }),
  ),
  operatorToken: secret(
    optionalText({
      hasFlag: false,
      description:
        "Token for what only operators may do (postgres/execute); valid wherever NOETL_TOKEN is; none: nobody may",
    }),
  ),
  insecure: toggle({
    description: "Allow listening beyond this machine without tokens",
  }),
  workerToken: secret(
    optionalText({
      hasFlag: false,
      description: "Token that workers send and servers ask them for",
    }),
  ),
  origins: list({
    default: "",
    placeholder: "url,…",
    hasFlag: false,
    description: "Further web origins whose pages may call the HTTP API",
  }),
  publicUrl: url({
    schemes: ["http", "https"],
    hasFlag: false,
    description: "Address of the HTTP API as others see it; default http://HOST:PORT",
  }),
};

const kubernetesDir = text({
  default: "/var/run/secrets/kubernetes.io/serviceaccount",
  hasFlag: false,
  description: "Folder with token, ca.crt and namespace of the pod's service account",
});

/** The cluster whose Jobs container tasks may be. */
export const clusterOptions = {
  kubernetesDir,
  kubeconfig: optionalText({
    placeholder: "file",
    hasFlag: false,
    description:
      "Kubeconfig of the cluster for container tasks; default: the cluster that the worker is a pod of, never your own kubeconfig",
  }),
  kubeContext: optionalText({
    placeholder: "name",
    hasFlag: false,
    description: "Context of NOETL_KUBECONFIG; default: its current one",
  }),
  kubernetesNamespace: optionalText({
    placeholder: "name",
    hasFlag: false,
    description: "Namespace of container tasks that name none; default: the worker's own, or noetl",
  }),
};

export const secretOptions = {
  encryptionKey: secret(
    optionalText({
      hasFlag: false,
      description:
        "Key for credentials, base64 of 32 bytes; default: made once in the data folder. Several servers need the same",
    }),
  ),
  encryptionOldKeys: secret(
    optionalText({
      hasFlag: false,
      description:
        "Earlier keys, with commas: open what they sealed until `noetl credentials rotate` has run",
    }),
  ),
  secretEnv: list({
    default: "",
    placeholder: "NAME,…",
    hasFlag: false,
    description: "Environment variables of the server that credentials may refer to (provider env)",
  }),
  secretDir: optionalText({
    placeholder: "dir",
    hasFlag: false,
    description: "Folder below which credentials may refer to files (provider file)",
  }),
  secretCacheTime: duration({
    default: "60s",
    hasFlag: false,
    description: "How long a secret that a provider gave is used again",
  }),
  kubernetesUrl: url({
    schemes: ["http", "https"],
    hasFlag: false,
    description: "Kubernetes API (provider kubernetes); default: that of the cluster it runs in",
  }),
  kubernetesDir,
  vaultAddr: url({
    env: "VAULT_ADDR",
    schemes: ["http", "https"],
    hasFlag: false,
    description: "HashiCorp Vault (provider vault, KV version 2)",
  }),
  vaultToken: secret(
    optionalText({
      env: "VAULT_TOKEN",
      hasFlag: false,
      description: "Token for Vault; without it the server logs in as its service account",
    }),
  ),
  vaultRole: optionalText({
    hasFlag: false,
    description: "Role for Vault's login by Kubernetes service account",
  }),
  vaultAuthPath: text({
    default: "kubernetes",
    hasFlag: false,
    description: "Where Vault's login by Kubernetes is mounted",
  }),
  vaultNamespace: optionalText({
    env: "VAULT_NAMESPACE",
    hasFlag: false,
    description: "Namespace in Vault",
  }),
  vaultCaFile: optionalText({
    env: "VAULT_CACERT",
    placeholder: "file",
    hasFlag: false,
    description: "PEM file of the authority that signed Vault's certificate",
  }),
};

const resultBytes = bytes({
  default: "64MiB",
  hasFlag: false,
  description: "Largest result of a task, or artifact; servers and workers need the same",
});

/** Where values over 64 KiB are kept, how large they may be, and when finished executions go. */
export const resultOptions = {
  resultStore: choice({
    of: ["postgres", "s3"],
    default: "postgres",
    hasFlag: false,
    description: "Where the bytes of new stored results go; those elsewhere stay readable",
  }),
  s3Bucket: optionalText({ hasFlag: false, description: "Bucket for stored results" }),
  s3Endpoint: url({
    schemes: ["http", "https"],
    hasFlag: false,
    description: "S3-compatible store of the bucket; default: Amazon's of the region",
  }),
  s3Region: text({ default: "us-east-1", hasFlag: false, description: "Region of the bucket" }),
  s3AccessKey: optionalText({ hasFlag: false, description: "Access key for the bucket" }),
  s3SecretKey: secret(optionalText({ hasFlag: false, description: "Secret key for the bucket" })),
  s3Prefix: text({
    default: "noetl",
    hasFlag: false,
    description: "First part of all keys in the bucket",
  }),
  resultBytes,
  executionResultBytes: bytes({
    default: "16GiB",
    hasFlag: false,
    description: "All stored results of one execution together",
  }),
  templateBytes: bytes({
    default: "8MiB",
    hasFlag: false,
    description:
      "Largest stored result that a server loads for guards, set, loops and sub-playbooks",
  }),
  retentionExecutions: optionalDuration({
    hasFlag: false,
    description:
      "How long finished executions are kept, with all that belongs to them; default: for ever",
  }),
  retentionEvents: optionalDuration({
    hasFlag: false,
    description: "How long events of finished executions are kept; default: as long as they are",
  }),
  retentionResults: optionalDuration({
    hasFlag: false,
    description:
      "How long stored results of finished executions are kept; default: as long as they are",
  }),
  retentionLogs: duration({
    default: "24h",
    hasFlag: false,
    description: "How long task output is kept, at most 1 GiB of all",
  }),
};

const ctxBytes = bytes({
  default: "16MiB",
  hasFlag: false,
  description: "Largest value of ctx; servers and workers need the same",
});

const templateEnv = list({
  default: "",
  placeholder: "NAME,…",
  hasFlag: false,
  description:
    "Environment variables that templates may read as env.NAME: in fields of tasks the worker's, elsewhere the server's",
});

const tlsCert = optionalText({
  placeholder: "file",
  hasFlag: false,
  description:
    "PEM file of the certificate, its chain below it: a server's for HTTPS and gRPC (none: both without TLS), a client's for servers that ask for one; read at start",
});

const tlsKey = optionalText({
  placeholder: "file",
  hasFlag: false,
  description: "PEM file of the private key of NOETL_TLS_CERT, without a passphrase",
});

/** Of what calls gRPC servers at `tls://` addresses. */
const grpcTlsOptions = {
  grpcCaFile: optionalText({
    placeholder: "file",
    hasFlag: false,
    description:
      "PEM file of the authority that signed the certificates of tls:// addresses; default: known authorities",
  }),
  tlsCert,
  tlsKey,
};

/** An address of gRPC; TLS checks the name, so it needs one. */
const GRPC_ADDRESS = {
  pattern: /^(tls:\/\/)?[^\s:/]+:\d+$/,
  mustBe: "host:port or tls://host:port, or several with commas",
};

/** Not of `up`, whose parts talk on one machine. */
export const tlsOptions = {
  tlsCert,
  tlsKey,
  tlsClientCa: optionalText({
    placeholder: "file",
    hasFlag: false,
    description:
      "PEM file of the authority whose certificates gRPC clients must show (mutual TLS); default: none is asked for",
  }),
};

const serverTuning = {
  ...listenOptions,
  ...folderOptions,
  ...databaseOptions,
  ...natsOptions,
  ...secretOptions,
  ...resultOptions,
  ctxBytes,
  defaultPool: text({
    default: "default",
    description: "Pool of steps when neither they, the playbook nor the request name one",
  }),
  gpuPool: text({
    hasFlag: false,
    default: "gpu-01",
    description: "Pool of steps that need a GPU and name no pool",
  }),
  skipMigration: toggle({
    description: "Do not bring the database to this version's schema at start",
  }),
  templateEnv,
  secretReading: toggle({
    hasFlag: false,
    description: "Give credentials with their secrets over the HTTP API (include_data=true)",
  }),
  metricsPlaybooks: integer({
    hasFlag: false,
    default: 200,
    min: 0,
    max: 10_000,
    description:
      "Playbooks that have metrics of their own; those of others are shown as one, other",
  }),
  ...logOptions,
  ...traceOptions,
};

export const metricsOptions = {
  metricsPort: optionalPort({
    description:
      "Port of /metrics, /livez and /readyz, which ask for no token; 0: any free one; a worker's default: 9090, or a free one if that is taken; a server's: none, it has them at its API",
  }),
  metricsHost: text({
    default: "127.0.0.1",
    description: "Address of the metrics port",
  }),
};

export const serverOptions = { ...serverTuning, ...tlsOptions, ...metricsOptions };

/** Of machines with GPUs; by environment only, so that workers of `up` have them too. */
const gpuOptions = {
  gpus: list({
    default: "all",
    placeholder: "0,GPU-…",
    each: { pattern: /^[\w:-]+$/, mustBe: "all, none, or numbers and UUIDs of GPUs with commas" },
    hasFlag: false,
    description:
      "GPUs that a worker may use: all, none, or numbers and UUIDs as nvidia-smi shows them; so workers can share a machine",
  }),
  gpuForeign: choice({
    of: ["refuse", "allow"],
    default: "refuse",
    hasFlag: false,
    description:
      "Processes on a GPU that no task explains; refuse: no task starts there until they are gone",
  }),
  gpuInterval: duration({
    default: "5s",
    hasFlag: false,
    description: "Time between two readings of the GPUs",
  }),
  nvidiaSmi: optionalText({
    placeholder: "file",
    hasFlag: false,
    description: "NVIDIA's nvidia-smi; default: the one on the PATH, without one there are no GPUs",
  }),
  kernelLog: text({
    default: "/dev/kmsg",
    hasFlag: false,
    description:
      "Kernel's log, in which the driver reports broken GPUs (XID), or a file with its lines",
  }),
  dcgmJobDir: optionalText({
    placeholder: "dir",
    hasFlag: false,
    description:
      "Folder of NVIDIA's DCGM exporter (--hpc-job-mapping-dir): a file for each GPU in use says by what task",
  }),
};

const workerTuning = {
  ...gpuOptions,
  ...clusterOptions,
  slots: integer({
    default: 8,
    min: 1,
    max: 1000,
    description: "Commands that one worker runs at a time",
  }),
  graceTime: duration({
    default: "30s",
    description: "How long running work may end at shutdown before it is handed back",
  }),
  workerDrain: choice({
    of: ["wait", "stop", "leave"],
    default: "wait",
    hasFlag: false,
    description:
      "What a worker that is told to stop does with what it runs; wait: lets it end within the grace time; stop: stops it at once; leave: lets containers run on for the next worker on the machine, which must come within 2 minutes",
  }),
  workerParked: integer({
    default: 1000,
    min: 1,
    max: 100_000,
    hasFlag: false,
    description: "Jobs of a cluster that one worker follows at a time; they take no slots",
  }),
  python: text({ default: "python3", description: "Program that runs python tasks" }),
  filesDir: optionalText({
    placeholder: "dir",
    description:
      "Folder of the files that tasks name by relative paths, such as DuckDB's; default ~/.noetl/files, of up: files in its data folder",
  }),
  containerRuntime: list({
    default: "",
    placeholder: "name",
    each: {
      pattern: /^(docker|podman|nerdctl|kubernetes)$/,
      mustBe: "docker, podman, nerdctl or kubernetes, or several with commas",
    },
    hasFlag: false,
    description:
      "What runs containers, the preferred first; default: what works of docker, podman, nerdctl, kubernetes",
  }),
  containerDir: optionalText({
    placeholder: "dir",
    description:
      "Folder of what containers find under /noetl, on the machine that runs them; default ~/.noetl/containers, of up: containers in its data folder",
  }),
  containerMounts: list({
    default: "",
    placeholder: "dir",
    each: { pattern: /^\//, mustBe: "an absolute path, or several with commas" },
    hasFlag: false,
    description:
      "Folders of the machine that container tasks may mount, with all below them; default: none",
  }),
  cudaImage: text({
    default: "nvidia/cuda:12.9.1-devel-ubuntu24.04",
    hasFlag: false,
    description: "Image of cuda tasks that name none; needs nvcc",
  }),
  resultBytes,
  ctxBytes,
};

export const workerOptions = {
  pool: optionalText({ placeholder: "name", description: "Pool whose commands to run (required)" }),
  name: optionalText({ description: "Name shown in lists; default HOST-PID" }),
  server: list({
    env: "NOETL_GRPC_ADDRESS",
    default: "127.0.0.1:9082",
    placeholder: "host:port,…",
    each: GRPC_ADDRESS,
    description: "gRPC addresses of servers; tls://host:port of those with TLS",
  }),
  ...grpcTlsOptions,
  workerToken: listenOptions.workerToken,
  templateEnv,
  ...workerTuning,
  cacheDir: folderOptions.cacheDir,
  ...metricsOptions,
  ...natsOptions,
  ...logOptions,
  ...traceOptions,
};

export const upOptions = {
  pool: list({
    env: "NOETL_POOLS",
    default: "default",
    placeholder: "name",
    each: POOL_NAME,
    description: "Pool to run a worker for; may be repeated",
  }),
  ...workerTuning,
  ...serverTuning,
  defaultPool: optionalText({
    description:
      "Pool of steps when neither they, the playbook nor the request name one; default: the first --pool",
  }),
};

export const clientOptions = {
  serverUrl: url({
    schemes: ["http", "https"],
    description:
      "Server to talk to; default: that of the context in use, else http://127.0.0.1:8082",
  }),
  context: optionalText({
    placeholder: "name",
    description: "Server to talk to, by the name that `noetl context add` gave it",
  }),
  caFile: optionalText({
    placeholder: "file",
    description:
      "PEM file of the authority that signed the certificate of an https:// server; default: known authorities",
  }),
  token: listenOptions.token,
  operatorToken: listenOptions.operatorToken,
  configDir: optionalText({
    placeholder: "dir",
    hasFlag: false,
    description: "Folder of the file with the contexts; default ~/.config/noetl",
  }),
};

export const runOptions = {
  ...clientOptions,
  dataDir: folderOptions.dataDir,
  cacheDir: folderOptions.cacheDir,
  pool: list({
    default: "",
    placeholder: "name",
    each: POOL_NAME,
    hasFlag: true,
    env: "NOETL_POOLS",
    description: "Pools of the embedded platform; default: those that the playbook names",
  }),
  slots: workerTuning.slots,
  python: workerTuning.python,
  filesDir: workerTuning.filesDir,
  containerDir: workerTuning.containerDir,
};

/** Of tools that tests let run. */
export const testOptions = {
  cacheDir: folderOptions.cacheDir,
  dataDir: folderOptions.dataDir,
  python: workerTuning.python,
  filesDir: workerTuning.filesDir,
};

/** Of `noetl tools`. */
export const toolsOptions = {
  python: workerTuning.python,
  containerRuntime: workerTuning.containerRuntime,
  containerDir: workerTuning.containerDir,
  ...clusterOptions,
};

/** A component that `noetl health` looks at when it is named. */
function componentUrl(description: string) {
  const open = url({
    schemes: ["http", "https"],
    description: `${description}; may hold user:password@`,
  });
  return { ...secret(open), placeholder: "url" };
}

/** Of `noetl health`. PostgreSQL and NATS are asked themselves when they are named, else by way of a server. */
export const healthOptions = {
  ...clientOptions,
  ...databaseOptions,
  databaseUrl: {
    ...databaseOptions.databaseUrl,
    description: "PostgreSQL of the platform; default: a server is asked about it",
  },
  ...natsOptions,
  natsUrl: {
    ...natsOptions.natsUrl,
    description: "NATS server or comma-separated servers; default: a server is asked about it",
  },
  ...logOptions,
  pool: list({
    env: "NOETL_POOLS",
    default: "",
    placeholder: "name",
    each: POOL_NAME,
    description: "Pool that must have a live worker even when nothing waits; may be repeated",
  }),
  grpcAddress: list({
    default: "",
    placeholder: "host:port,…",
    each: GRPC_ADDRESS,
    description: "gRPC addresses of servers; tls://host:port of those with TLS",
  }),
  ...grpcTlsOptions,
  victoriametricsUrl: componentUrl("VictoriaMetrics, such as http://victoriametrics:8428"),
  victorialogsUrl: componentUrl("VictoriaLogs, such as http://victorialogs:9428"),
  victorialogsQuery: text({
    default: 'app:in("noetl-server","noetl-worker")',
    hasFlag: false,
    description: "LogsQL filter that finds the platform's own lines in VictoriaLogs",
  }),
  vmalertUrl: componentUrl("vmalert, such as http://vmalert:8880"),
  vectorUrl: componentUrl("Vector's API, such as http://vector:8686"),
  vectorMetricsUrl: componentUrl("Vector's metrics, such as http://vector:9598"),
  grafanaUrl: componentUrl("Grafana, such as http://grafana:3000"),
  grafanaToken: secret(
    optionalText({
      hasFlag: false,
      description: "Token of a Grafana service account (Viewer, with datasources:read)",
    }),
  ),
  grafanaUser: optionalText({ hasFlag: false, description: "User for Grafana, without a token" }),
  grafanaPassword: secret(
    optionalText({ hasFlag: false, description: "Password for Grafana, without a token" }),
  ),
  timeout: duration({
    env: "NOETL_HEALTH_TIMEOUT",
    default: "4s",
    description: "How long each check may take",
  }),
  interval: duration({
    env: "NOETL_HEALTH_INTERVAL",
    default: "10s",
    description: "Time between two rounds of checks, for --watch and --listen",
  }),
  listen: optionalText({
    env: "NOETL_HEALTH_LISTEN",
    placeholder: "host:port",
    description:
      "Go on checking and serve /livez, /readyz, /health and /metrics there; :PORT means all addresses",
  }),
};

/** Roles as README.md shows them. */
export const ROLES = {
  server: serverOptions,
  worker: workerOptions,
  up: upOptions,
  "client commands, run": clientOptions,
  health: healthOptions,
};
