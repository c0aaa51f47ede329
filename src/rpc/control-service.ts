/** `noetl.v1.ControlService`: the wire on one side, the orchestrator on the other. */
import { once } from "node:events";
import type { ServerWritableStream } from "@grpc/grpc-js";
import type { CallContext } from "./call.ts";
import { streaming, unary } from "./call.ts";
import {
  decodeExecutionId,
  decodeFilter,
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

export function createControlService(
  handlers: ControlHandlers,
  context: CallContext,
): ControlServiceServer {
  return {
    registerPlaybook: unary(context, "RegisterPlaybook", async ({ content, strict }) =>
      encodeRegistered(await handlers.registerPlaybook({ content, isStrict: strict })),
    ),
    execute: unary(
      context,
      "Execute",
      async (request) => await handlers.start(decodeStart(request)),
    ),
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
