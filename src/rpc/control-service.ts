/** `noetl.v1.ControlService`: the wire on one side, the orchestrator on the other. */
import { once } from "node:events";
import type { ServerWritableStream } from "@grpc/grpc-js";
import type { CallContext } from "./call.ts";
import { streaming, unary } from "./call.ts";
import {
  decodeExecutionId,
  decodeFilter,
  decodeSignal,
  decodeStart,
  encodeEvent,
  encodeExecution,
  encodeRegistered,
} from "./control-codec.ts";
import type {
  ControlServiceServer,
  ExecutionEvent,
  WatchExecutionRequest,
} from "./generated/noetl/v1/control.ts";
import type { ControlHandlers } from "./handlers.ts";
import { decodeJsonObject } from "./wire-value.ts";

export function createControlService(
  handlers: ControlHandlers,
  context: CallContext,
): ControlServiceServer {
  return {
    registerPlaybook: unary(context, "RegisterPlaybook", async ({ content, strict }) =>
      encodeRegistered(await handlers.registerPlaybook({ content, isStrict: strict })),
    ),
    execute: unary(context, "Execute", async (request, metadata) => {
      const [trace] = metadata.get("traceparent");
      return await handlers.start({
        ...decodeStart(request),
        ...(typeof trace === "string" ? { trace } : {}),
      });
    }),
    getExecution: unary(context, "GetExecution", async ({ executionId }) =>
      encodeExecution(await handlers.getExecution(decodeExecutionId(executionId))),
    ),
    watchExecution: streaming(context, "WatchExecution", (call) =>
      watch(handlers, call, context.stopping),
    ),
    cancelExecution: unary(context, "CancelExecution", async (request) => {
      const executionId = decodeExecutionId(request.executionId);
      const { reason, cascade = true } = request;
      await handlers.cancel(executionId, { reason, cascade });
      return encodeExecution(await handlers.getExecution(executionId));
    }),
    signalExecution: unary(context, "SignalExecution", async (request) => {
      const executionId = decodeExecutionId(request.executionId);
      const { status, waitCount } = await handlers.signal(executionId, decodeSignal(request));
      return { status, waits: waitCount };
    }),
    retryExecution: unary(context, "RetryExecution", async (request) => {
      const { newExecution: isNew, reason, steps } = request;
      const { executionId } = await handlers.retry(decodeExecutionId(request.executionId), {
        isNew,
        ...(steps.length === 0 ? {} : { steps }),
        ...(reason === "" ? {} : { reason }),
      });
      return encodeExecution(await handlers.getExecution(executionId));
    }),
    rerunExecution: unary(context, "RerunExecution", async (request) => {
      const { dedupKey: key } = request;
      return await handlers.rerun(decodeExecutionId(request.executionId), {
        payload: decodeJsonObject("payload", request.payload),
        ...(key === "" ? {} : { dedup: { key } }),
      });
    }),
    listExecutions: unary(context, "ListExecutions", async (request) => ({
      executions: (await handlers.listExecutions(decodeFilter(request))).map(encodeExecution),
    })),
  };
}

async function watch(
  handlers: ControlHandlers,
  call: ServerWritableStream<WatchExecutionRequest, ExecutionEvent>,
  stopping: AbortSignal,
): Promise<void> {
  const executionId = decodeExecutionId(call.request.executionId);
  const gone = new AbortController();
  call.on("cancelled", () => gone.abort());
  call.on("error", () => gone.abort());
  const signal = AbortSignal.any([gone.signal, stopping]);
  const options = { afterSeq: Number(call.request.afterSeq), signal };
  for await (const recorded of handlers.watch(executionId, options)) {
    if (!call.write(encodeEvent(executionId, recorded)) && !signal.aborted) {
      await Promise.race([once(call, "drain"), once(signal, "abort")]);
    }
  }
  call.end();
}
