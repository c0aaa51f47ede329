/** `noetl.v1.WorkerService`: the wire on one side, the orchestrator on the other. */
import type { ServerReadableStream } from "@grpc/grpc-js";
import { decodeQuestions, encodeAnswer } from "./adoption-codec.ts";
import type { CallContext } from "./call.ts";
import { guard, streaming, unary } from "./call.ts";
import {
  decodeHeld,
  decodeLogLine,
  decodePermitDemand,
  decodeRegistration,
  decodeReport,
  encodeClaimOutcome,
} from "./codec.ts";
import { decodeExecutionId } from "./control-codec.ts";
import type {
  ClaimOutcome,
  GetResultRequest,
  PutResultResponse,
  ResultChunk,
  WorkerServiceServer,
} from "./generated/noetl/v1/worker.ts";
import type { OpenResult, WorkerHandlers } from "./handlers.ts";
import { serveHeartbeats } from "./heartbeat-link.ts";
import { decodePut, encodeGet, encodeInfo, writeChunks } from "./result-stream.ts";
import { toStatus } from "./status.ts";
import { encodeJson, toWorkerId } from "./wire-value.ts";
import type { WorkMethods } from "./work-link.ts";
import { serveWork } from "./work-link.ts";

/** Stored values that one answer describes at most. */
const LISTED_MAX = 1000;

export function createWorkerService(
  handlers: WorkerHandlers,
  context: CallContext,
): WorkerServiceServer {
  const work = createWorkMethods(handlers);
  return {
    register: unary(context, "Register", (request) =>
      handlers.register(decodeRegistration(request)),
    ),
    heartbeats: streaming(context, "Heartbeats", (call) =>
      serveHeartbeats(call, handlers, context.stopping),
    ),
    work: streaming(context, "Work", (call) => serveWork(call, work, context)),
    claim: unary(context, "Claim", work.claim),
    report: unary(context, "Report", work.report),
    acquirePermits: unary(context, "AcquirePermits", work.acquirePermits),
    appendLogs: unary(context, "AppendLogs", work.appendLogs),
    resolveCredential: unary(context, "ResolveCredential", async (request) => {
      const { workerId, command, name, isKeychain, refusedVersion } = request;
      const question = { held: decodeHeld(command), name, isKeychain, refusedVersion };
      const found = await handlers.resolveCredential(toWorkerId(workerId), question);
      const { type, version } = found;
      return { name: found.name, type, data: encodeJson(found.data), version };
    }),
    putResult: putResult(handlers, context),
    getResult: streaming(context, "GetResult", async (call) => {
      await writeChunks(call, encodeGet(await openResult(handlers, call.request)));
      call.end();
    }),
    describeResult: unary(context, "DescribeResult", async (request) => {
      const { info } = await openResult(handlers, request);
      return { info: encodeInfo(info) };
    }),
    listResults: unary(context, "ListResults", async ({ executionId, name, limit, offset }) => {
      const count = Math.min(limit, LISTED_MAX);
      const page = { limit: count, offset, name: name === "" ? undefined : name };
      const infos = await handlers.listResults(decodeExecutionId(executionId), page);
      return { infos: infos.map(encodeInfo) };
    }),
    deleteResult: unary(context, "DeleteResult", async ({ ref }) => ({
      isDeleted: await handlers.removeResult(ref),
    })),
    adopt: unary(context, "Adopt", async ({ workerId, questions }) => {
      const answers = await handlers.adopt(toWorkerId(workerId), decodeQuestions(questions));
      return { answers: answers.map(encodeAnswer) };
    }),
    deregister: unary(context, "Deregister", async ({ workerId }) => {
      await handlers.deregister(toWorkerId(workerId));
      return {};
    }),
  };
}

function createWorkMethods(handlers: WorkerHandlers): WorkMethods {
  return {
    claim: async ({ workerId, commands, isRepeat }) => {
      const held = commands.map(decodeHeld);
      const outcomes = await handlers.claim(toWorkerId(workerId), held, isRepeat);
      return { outcomes: outcomes.map(encodeClaimOutcome) };
    },
    report: async (request) => {
      const workerId = toWorkerId(request.workerId);
      const reports = request.reports.map((report) => decodeReport(workerId, report));
      const granted: ClaimOutcome[] = [];
      const answers = await handlers.report(reports, (command) => {
        const { commandId } = command;
        granted.push(encodeClaimOutcome({ commandId, status: "claimed", command }));
      });
      return { stale: answers.map((answer) => answer === "stale"), granted };
    },
    acquirePermits: async ({ demands }) => ({
      answers: [...(await handlers.acquirePermits(demands.map(decodePermitDemand)))],
    }),
    appendLogs: async ({ workerId, lines }) => ({
      dropped: await handlers.appendLogs(lines.map(decodeLogLine), toWorkerId(workerId)),
    }),
  };
}

async function openResult(
  handlers: WorkerHandlers,
  { ref, executionId, name }: GetResultRequest,
): Promise<OpenResult> {
  if (ref === "") {
    return await handlers.openNamedResult(decodeExecutionId(executionId), name);
  }
  const reader = executionId === "" ? undefined : decodeExecutionId(executionId);
  return await handlers.openResult(ref, reader);
}

function putResult(
  handlers: WorkerHandlers,
  context: CallContext,
): WorkerServiceServer["putResult"] {
  return (call: ServerReadableStream<ResultChunk, PutResultResponse>, callback) => {
    const run = async (): Promise<PutResultResponse> => {
      const { result, source } = await decodePut(call);
      return { info: encodeInfo(await handlers.putResult(result, source)) };
    };
    void guard(context, "PutResult", call.metadata, run).then(
      (response) => callback(null, response),
      (error: unknown) => callback(toStatus(error)),
    );
  };
}
