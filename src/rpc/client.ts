/**
 * The worker's end of `noetl.v1.WorkerService`.
 *
 * Any server will do: there is a channel to each, and one is used until it fails as unavailable;
 * then the next call goes to the next. Channels reconnect by themselves. Every call has a deadline;
 * nothing is retried here, the callers know what repetition is worth.
 */
import type { ClientUnaryCall, ServiceError } from "@grpc/grpc-js";
import { Metadata } from "@grpc/grpc-js";
import { assert } from "../core/assert.ts";
import { AppError } from "../core/errors.ts";
import type { ExecutionId, WorkerId } from "../core/ids.ts";
import type {
  AdoptionAnswer,
  AdoptionQuestion,
  ClaimedCommand,
  ClaimOutcome,
  CommandReport,
  Directive,
  Heartbeat,
  HeldCommand,
  LogLine,
  PermitAnswer,
  PermitDemand,
  ReportAnswer,
  WorkerRegistration,
} from "../engine/command.ts";
import type { NewResult, ResultInfo } from "../engine/result.ts";
import { decodeAnswer, encodeQuestion } from "./adoption-codec.ts";
import { CHANNEL_OPTIONS } from "./channel.ts";
import {
  decodeClaimOutcome,
  decodeDirective,
  encodeHeartbeat,
  encodeHeld,
  encodeLogLine,
  encodeRegistration,
  encodeReport,
} from "./codec.ts";
import type {
  Directives,
  GetResultRequest,
  PutResultResponse,
  ResultChunk,
} from "./generated/noetl/v1/worker.ts";
import { WorkerServiceClient } from "./generated/noetl/v1/worker.ts";
import type {
  RegistrationAnswer,
  ResolvedCredential,
  ResultPage,
  SecretQuestion,
} from "./handlers.ts";
import { decodeInfo, encodePut, writeChunks } from "./result-stream.ts";
import { fromServiceError } from "./status.ts";
import type { ClientTls } from "./tls.ts";
import { channelCredentials, parseAddress } from "./tls.ts";
import { decodeJsonObject, invalid } from "./wire-value.ts";
import { WorkStream } from "./work-stream.ts";

export interface WorkerClientOptions {
  /** Servers as `host:port` or `tls://host:port`, at least one. */
  readonly addresses: readonly string[];
  readonly token?: string | undefined;
  /** For `tls://` addresses; default: the system's authorities, no certificate. */
  readonly tls?: ClientTls | undefined;
}

/** All methods reject with AppError, of kind `unavailable` or `timeout` when no server answered. */
export interface WorkerClient {
  register(registration: WorkerRegistration): Promise<RegistrationAnswer>;
  openHeartbeats(listener: HeartbeatListener): HeartbeatStream;
  /** One outcome per command, in order. `isRepeat`: the answer to the same request got lost. */
  claim(
    workerId: WorkerId,
    commands: readonly HeldCommand[],
    isRepeat?: boolean,
  ): Promise<readonly ClaimOutcome[]>;
  /** One answer per report, in order. `onGrant` gets, before, the commands that came with them. */
  report(
    workerId: WorkerId,
    reports: readonly CommandReport[],
    onGrant?: (command: ClaimedCommand) => void,
  ): Promise<readonly ReportAnswer[]>;
  acquirePermit(workerId: WorkerId, demand: PermitDemand): Promise<PermitAnswer>;
  /** Resolves with the number of lines that were dropped. */
  appendLogs(workerId: WorkerId, lines: readonly LogLine[]): Promise<number>;
  resolveCredential(workerId: WorkerId, question: SecretQuestion): Promise<ResolvedCredential>;
  /** @param open gives the bytes, from the first on each time. */
  putResult(
    result: NewResult,
    open: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<ResultInfo>;
  /** What is known of a stored value; by reference, canonical URI or URN, or by its name. */
  describeResult(key: ResultQuery): Promise<ResultInfo>;
  /** The bytes of a stored value go to `write` as they come. */
  readResult(key: ResultQuery, write: (bytes: Uint8Array) => void): Promise<ResultInfo>;
  listResults(executionId: ExecutionId, page: ResultPage): Promise<readonly ResultInfo[]>;
  /** False if there was none. */
  deleteResult(ref: string): Promise<boolean>;
  /** One answer per question, in order; at most 500 of them. Asking twice is harmless. */
  adopt(
    workerId: WorkerId,
    questions: readonly AdoptionQuestion[],
  ): Promise<readonly AdoptionAnswer[]>;
  deregister(workerId: WorkerId): Promise<void>;
  close(): void;
}

/** `reader`: the address was found in that execution's data, nobody named it. */
export type ResultQuery =
  | { readonly address: string; readonly reader?: ExecutionId }
  | { readonly executionId: ExecutionId; readonly name: string };

export interface HeartbeatListener {
  /** `isAnswer`: the leases of a heartbeat's commands are renewed; `directives` may be empty. */
  readonly onDirectives: (directives: readonly Directive[], isAnswer: boolean) => void;
  /** Called once: the stream is over; open another. */
  readonly onEnd: (reason: string) => void;
}

export interface HeartbeatStream {
  /** False when the stream is over. */
  send(heartbeat: Heartbeat): boolean;
  close(): void;
}

/** Claim and report wait for one durable commit, which a busy or restarting database delays. */
const DEADLINE_MS = 15_000;
const TRANSFER_DEADLINE_MS = 120_000;
/** A secret may come from a service that is asked several times, or be fetched by another server. */
const SECRET_DEADLINE_MS = 60_000;
const RECONNECT_MIN_MS = 100;
const RECONNECT_MAX_MS = 1000;

const CLIENT_OPTIONS = {
  ...CHANNEL_OPTIONS,
  "grpc.initial_reconnect_backoff_ms": RECONNECT_MIN_MS,
  "grpc.min_reconnect_backoff_ms": RECONNECT_MIN_MS,
  "grpc.max_reconnect_backoff_ms": RECONNECT_MAX_MS,
};

/** Makes channels; they connect on first use. */
export function connectWorkerClient(options: WorkerClientOptions): WorkerClient {
  return new FailoverClient(options);
}

/** One server. */
interface Link {
  readonly stub: WorkerServiceClient;
  readonly work: WorkStream;
}

class FailoverClient implements WorkerClient {
  readonly #links: readonly Link[];
  readonly #metadata = new Metadata();
  #current: Link;

  constructor({ addresses, token, tls }: WorkerClientOptions) {
    this.#links = addresses.map((text) => {
      const { address, isTls } = parseAddress(text);
      const credentials = channelCredentials(isTls ? (tls ?? {}) : undefined);
      const stub = new WorkerServiceClient(address, credentials, CLIENT_OPTIONS);
      return { stub, work: new WorkStream(() => stub.work(this.#metadata), DEADLINE_MS) };
    });
    const [first] = this.#links;
    assert(first !== undefined, "a worker client has an address");
    this.#current = first;
    if (token !== undefined) {
      this.#metadata.set("authorization", `Bearer ${token}`);
    }
  }

  async register(registration: WorkerRegistration): Promise<RegistrationAnswer> {
    const request = encodeRegistration(registration);
    return await this.#unary(({ stub }) => stub.register.bind(stub, request));
  }

  async claim(
    workerId: WorkerId,
    commands: readonly HeldCommand[],
    isRepeat = false,
  ): Promise<readonly ClaimOutcome[]> {
    const value = { workerId, commands: commands.map(encodeHeld), isRepeat };
    const response = await this.#use(({ work }) => work.request({ $case: "claim", value }));
    return response.$case === "claim" ? response.value.outcomes.map(decodeClaimOutcome) : [];
  }

  async report(
    workerId: WorkerId,
    reports: readonly CommandReport[],
    onGrant?: (command: ClaimedCommand) => void,
  ): Promise<readonly ReportAnswer[]> {
    const value = { workerId, reports: reports.map(encodeReport) };
    const response = await this.#use(({ work }) => work.request({ $case: "report", value }));
    const { stale, granted } =
      response.$case === "report" ? response.value : { stale: [], granted: [] };
    for (const outcome of granted.map(decodeClaimOutcome)) {
      if (outcome.status === "claimed") {
        onGrant?.(outcome.command);
      }
    }
    return reports.map((_report, position) => (stale[position] === true ? "stale" : "accepted"));
  }

  async acquirePermit(workerId: WorkerId, demand: PermitDemand): Promise<PermitAnswer> {
    const value = { workerId, demands: [{ ...demand }] };
    const response = await this.#use(({ work }) =>
      work.request({ $case: "acquirePermits", value }),
    );
    const [answer] = response.$case === "acquirePermits" ? response.value.answers : [];
    if (answer === undefined) {
      throw invalid("the demand for a permit has no answer");
    }
    return answer;
  }

  async appendLogs(workerId: WorkerId, lines: readonly LogLine[]): Promise<number> {
    const value = { workerId, lines: lines.map(encodeLogLine) };
    const response = await this.#use(({ work }) => work.request({ $case: "appendLogs", value }));
    return response.$case === "appendLogs" ? response.value.dropped : 0;
  }

  async resolveCredential(
    workerId: WorkerId,
    { held, ...question }: SecretQuestion,
  ): Promise<ResolvedCredential> {
    const request = { workerId, command: encodeHeld(held), ...question };
    const found = await this.#unary(
      ({ stub }) => stub.resolveCredential.bind(stub, request),
      SECRET_DEADLINE_MS,
    );
    const { name, type, version } = found;
    return { name, type, data: decodeJsonObject("data", found.data), version };
  }

  async putResult(
    result: NewResult,
    open: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<ResultInfo> {
    const response = await this.#use(({ stub }) => {
      const { promise, callback } = callbackPromise<PutResultResponse>();
      const call = stub.putResult(this.#metadata, deadline(TRANSFER_DEADLINE_MS), callback);
      const over = new AbortController();
      const chunks = encodePut(result, open());
      const written = writeChunks(call, chunks, over.signal).then(() => call.end());
      // A source that breaks ends the call; one that fails while it is written says so by itself.
      written.catch(() => call.cancel());
      // A server that refuses a value does not read the rest, and the stream does not say so.
      return promise.finally(() => over.abort());
    });
    return decodeInfo(response.info);
  }

  async describeResult(key: ResultQuery): Promise<ResultInfo> {
    const request = toQuery(key);
    const { info } = await this.#unary(({ stub }) => stub.describeResult.bind(stub, request));
    return decodeInfo(info);
  }

  async readResult(key: ResultQuery, write: (bytes: Uint8Array) => void): Promise<ResultInfo> {
    return await this.#use(({ stub }) => {
      const call = stub.getResult(toQuery(key), this.#metadata, deadline(TRANSFER_DEADLINE_MS));
      const { promise, resolve, reject } = Promise.withResolvers<ResultInfo>();
      let info: ResultInfo | undefined;
      call.on("data", ({ head, data }: ResultChunk) => {
        info ??= head.length === 0 ? undefined : decodeInfo(head);
        if (data.length > 0) {
          write(data);
        }
      });
      call.on("error", (error: ServiceError) => reject(fromServiceError(error)));
      call.on("end", () => (info === undefined ? reject(invalid("no head")) : resolve(info)));
      return promise;
    });
  }

  async listResults(executionId: ExecutionId, page: ResultPage): Promise<readonly ResultInfo[]> {
    const request = { executionId, ...page, name: page.name ?? "" };
    const { infos } = await this.#unary(({ stub }) => stub.listResults.bind(stub, request));
    return infos.map(decodeInfo);
  }

  async deleteResult(ref: string): Promise<boolean> {
    const { isDeleted } = await this.#unary(({ stub }) => stub.deleteResult.bind(stub, { ref }));
    return isDeleted;
  }

  async adopt(
    workerId: WorkerId,
    questions: readonly AdoptionQuestion[],
  ): Promise<readonly AdoptionAnswer[]> {
    const request = { workerId, questions: questions.map(encodeQuestion) };
    const { answers } = await this.#unary(({ stub }) => stub.adopt.bind(stub, request));
    return questions.map(({ held }, n) => decodeAnswer(held, answers[n] ?? { answer: undefined }));
  }

  async deregister(workerId: WorkerId): Promise<void> {
    await this.#unary(({ stub }) => stub.deregister.bind(stub, { workerId }));
  }

  openHeartbeats(listener: HeartbeatListener): HeartbeatStream {
    const link = this.#current;
    const call = link.stub.heartbeats(this.#metadata);
    let isOpen = true;
    const end = (reason: string): void => {
      if (isOpen) {
        isOpen = false;
        this.#leave(link);
        listener.onEnd(reason);
      }
    };
    call.on("data", ({ directives, isAnswer }: Directives) => {
      const known = directives.flatMap((item) => decodeDirective(item) ?? []);
      listener.onDirectives(known, isAnswer);
    });
    call.on("error", (error: ServiceError) => end(error.details || error.message));
    call.on("end", () => end("the server ended the stream"));
    return {
      send: (heartbeat) => {
        if (isOpen) {
          call.write(encodeHeartbeat(heartbeat));
        }
        return isOpen;
      },
      close: () => {
        isOpen = false;
        call.cancel();
      },
    };
  }

  close(): void {
    for (const { stub, work } of this.#links) {
      work.close();
      stub.close();
    }
  }

  #unary<Response>(
    method: (link: Link) => UnaryMethod<Response>,
    deadlineMs = DEADLINE_MS,
  ): Promise<Response> {
    return this.#use((link) => {
      const { promise, callback } = callbackPromise<Response>();
      method(link)(this.#metadata, deadline(deadlineMs), callback);
      return promise;
    });
  }

  /** Calls the current server; the next call goes to another one if this one does not answer. */
  async #use<T>(call: (link: Link) => Promise<T>): Promise<T> {
    const link = this.#current;
    try {
      return await call(link);
    } catch (error) {
      if (error instanceof AppError && error.isRetryable) {
        this.#leave(link);
      }
      throw error;
    }
  }

  #leave(link: Link): void {
    if (link === this.#current) {
      const position = this.#links.indexOf(link) + 1;
      this.#current = this.#links[position % this.#links.length] ?? link;
    }
  }
}

type UnaryMethod<Response> = (
  metadata: Metadata,
  options: { deadline: number },
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

function deadline(ms: number): { deadline: number } {
  return { deadline: Date.now() + ms };
}

function callbackPromise<Response>() {
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const callback = (error: ServiceError | null, response: Response): void => {
    if (error === null) {
      resolve(response);
    } else {
      reject(fromServiceError(error));
    }
  };
  return { promise, callback };
}

function toQuery(key: ResultQuery): GetResultRequest {
  return "address" in key
    ? { ref: key.address, executionId: key.reader ?? "", name: "" }
    : { ref: "", executionId: key.executionId, name: key.name };
}
