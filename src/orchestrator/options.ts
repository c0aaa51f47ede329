/** What the orchestrator is made of. Narrow types: it takes what it uses, and tests can see all. */
import type { Bus } from "../bus/bus.ts";
import type { ToolDescriptions } from "../dsl/tool-description.ts";
import type { Logger } from "../observability/log.ts";
import type { ServerMetrics } from "../observability/metrics.ts";
import type { Tracer } from "../observability/tracer.ts";
import type { Providers } from "../secrets/providers.ts";
import type { Sealer } from "../secrets/sealing.ts";
import type { Store } from "../store/pool.ts";
import type { ResultStore, StoreKind } from "../store/result-store.ts";
import type { ResultLimits } from "./result-limits.ts";
import type { Retention } from "./retention.ts";

export type CommandBus = Pick<
  Bus,
  "publishCommand" | "streamIdentity" | "publishLogs" | "readLogs" | "followLogs"
>;

export type OrchestratorMetrics = Pick<
  ServerMetrics,
  | "eventsIngested"
  | "executionsStarted"
  | "executionsFinished"
  | "executionSeconds"
  | "stepsFinished"
  | "stepSeconds"
  | "signals"
  | "executionsRetried"
  | "commandPublish"
  | "commandPublishFailed"
  | "commandPublishSeconds"
  | "relayLagSeconds"
  | "commandsRetried"
  | "claims"
  | "adoptions"
  | "queueWaitSeconds"
  | "permits"
  | "permitWaitSeconds"
  | "admissions"
  | "admissionWaitSeconds"
  | "batchInputs"
  | "commitSeconds"
  | "commitConflicts"
  | "intakeDepth"
  | "stateBuild"
  | "leasesRenewed"
  | "fenceRefusals"
  | "sweepRows"
  | "sweepSeconds"
  | "sweepFailures"
  | "sweepLast"
  | "taskLogLines"
  | "resultPuts"
  | "resultPutSeconds"
  | "resultPutBytes"
  | "resultReads"
  | "retentionRemoved"
  | "workersLost"
  | "secretsHanded"
  | "keychainRenewals"
>;

export interface OrchestratorOptions {
  readonly store: Store;
  readonly bus: CommandBus;
  readonly secrets: Sealer;
  /** Default: none but references that need no configuration. */
  readonly providers?: Providers | undefined;
  readonly metrics: OrchestratorMetrics;
  /** Playbooks with series of their own; default 200. */
  readonly metricsPlaybooks?: number | undefined;
  /** Default: no spans are recorded. */
  readonly tracer?: Tracer | undefined;
  readonly log: Logger;
  /** Tool kinds that playbooks may use. */
  readonly knownTools: ToolDescriptions;
  readonly serverVersion: string;
  /** Unique per process life; holds the node number for ids. */
  readonly serverId: string;
  /** Name of the command stream, as the bus has it. */
  readonly stream: string;
  /** Pool for tasks that name none. */
  readonly defaultPool: string;
  /** Pool for tasks that need GPUs and name none. */
  readonly gpuPool: string;
  /** Where and how stored values are kept; default: in PostgreSQL, {@link DEFAULT_RESULT_LIMITS}. */
  readonly results?:
    | {
        readonly s3?: ResultStore | undefined;
        /** Takes new values; those in the other store stay readable. Default `postgres`. */
        readonly target?: StoreKind | undefined;
        readonly limits?: ResultLimits | undefined;
      }
    | undefined;
  /** What of finished executions goes when; default: nothing ever. */
  readonly retention?: Retention | undefined;
  /** Characters of JSON of one value of ctx, at most; default 8 Mi. */
  readonly ctxChars?: number | undefined;
  /** Names visible to templates as `env.*`. */
  readonly env: Readonly<Record<string, string>>;
  /** How long a claim holds without a heartbeat; default 10,000. */
  readonly leaseMs?: number | undefined;
  /** Default 2,500. */
  readonly heartbeatIntervalMs?: number | undefined;
  /** Default 1,000. */
  readonly sweepIntervalMs?: number | undefined;
  /** Memory for states of executions, roughly; default 128 MiB. */
  readonly cacheBytes?: number | undefined;
  /** Requests that may wait for a batch before more are refused; default 20,000. */
  readonly intakeLimit?: number | undefined;
}
