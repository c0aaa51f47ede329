/**
 * A kind of work that the load gives the platform, with what must be true of it in the end, whatever
 * was killed meanwhile. Each is a file in `workload/`.
 */
import type { NatsConnection } from "nats";
import type { Client } from "./client.ts";
import type { Playbook } from "./playbook.ts";
import type { Random } from "./random.ts";
import type { Sink } from "./sink.ts";
import type { Sql } from "./sql.ts";

export type End = "COMPLETED" | "FAILED" | "CANCELLED";

export interface Workload {
  /** What `--only` takes; its playbooks are `chaos/<name>` and `chaos/<name>/…`. */
  readonly name: string;
  /** How often it gets a turn, relative to the others; 0: it only has what `prepare` starts. */
  readonly weight: number;
  /** Sub-playbooks first. */
  readonly playbooks: readonly Playbook[];
  /** How its executions may end. */
  readonly ends: readonly End[];
  /** Once, before anything breaks. */
  readonly prepare?: (world: World) => Promise<void>;
  /** What one lane of the load does at a time. Absent: one execution, to its end. */
  readonly turn?: (turn: Turn) => Promise<void>;
  /** Looks on while things break, until `stop` is aborted. */
  readonly watch?: (world: World, stop: AbortSignal) => Promise<Problems>;
  /** Once nothing breaks any more: ends what would go on for ever. */
  readonly settle?: (world: World) => Promise<void>;
  /** Of each accepted execution that has ended as it may. */
  readonly verify?: (outcome: Outcome) => Problems | Promise<Problems>;
  /** Of all of it together, from the rows and from the world outside. */
  readonly check?: (world: World, accepted: readonly Accepted[]) => Promise<Problems>;
}

/** Sentences for people; none when all is well. */
export type Problems = readonly string[];

/** The platform and what is around it. */
export interface World {
  readonly client: Client;
  readonly sql: Sql;
  readonly sink: Sink;
  /** A nats-server of the playbooks' own: killed like the platform's, never wiped. */
  readonly stream: { readonly url: string; readonly connection: NatsConnection };
}

/** An execution that a server has promised to run. */
export interface Accepted {
  readonly executionId: string;
  readonly workload: string;
  readonly dedupKey: string;
  readonly payload: Readonly<Record<string, unknown>>;
}

export interface Turn {
  readonly world: World;
  /** Of this turn, unlike that of any other. */
  readonly name: string;
  readonly random: Random;
  /** Starts an execution, once however often it has to ask; gives its id. */
  start(request?: StartRequest): Promise<string>;
}

export interface StartRequest {
  /** Default: that of the workload. */
  readonly path?: string;
  readonly payload?: Readonly<Record<string, unknown>>;
}

export interface Outcome {
  readonly world: World;
  readonly accepted: Accepted;
  readonly status: End;
  /** By step name, as the API gives them. */
  readonly results: Readonly<Record<string, unknown>>;
}
