/**
 * Between the wire and the domain, for the worker service. `encode*` is total; `decode*` checks what
 * came in and throws AppError `invalid`, `MESSAGE_INVALID`.
 */

import { unreachable } from "../core/assert.ts";
import type { CommandId, ExecutionId, WorkerId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import type {
  ClaimedCommand,
  ClaimOutcome,
  CommandPayload,
  CommandReport,
  Directive,
  GrantedCommand,
  Heartbeat,
  HeldCommand,
  LogLine,
  PermitDemand,
  WorkerRegistration,
} from "../engine/command.ts";
import type * as wire from "./generated/noetl/v1/worker.ts";
import { decodeGpus, decodeGrant, decodeRuntimes, encodeGpu, encodeRuntime } from "./gpu-codec.ts";
import { decodeOutcome } from "./outcome-codec.ts";
import { decodeJson, encodeJson, integer, invalid, toId, toWorkerId } from "./wire-value.ts";

const PERMIT_KEY_CHARS_MAX = 1000;

export function encodeRegistration(registration: WorkerRegistration): wire.RegisterRequest {
  return {
    ...registration,
    tools: [...registration.tools],
    labels: { ...registration.labels },
    metricsUrl: registration.metricsUrl ?? "",
    runtimes: (registration.runtimes ?? []).map(encodeRuntime),
    gpus: (registration.gpus ?? []).map(encodeGpu),
  };
}

export function decodeRegistration(request: wire.RegisterRequest): WorkerRegistration {
  const { metricsUrl, runtimes, gpus, ...fields } = request;
  return {
    ...fields,
    workerId: toWorkerId(request.workerId),
    slots: integer("slots", request.slots, 1),
    ...(metricsUrl === "" ? {} : { metricsUrl }),
    ...decodeRuntimes(runtimes),
    ...decodeGpus(gpus),
  };
}

export function encodeHeld(held: HeldCommand): wire.HeldCommand {
  return { executionId: held.executionId, commandId: held.commandId, attempt: held.attempt };
}

export function decodeHeld(held: wire.HeldCommand | undefined): HeldCommand {
  if (held === undefined) {
    throw invalid("command is missing");
  }
  return {
    executionId: toId<ExecutionId>("execution_id", held.executionId),
    commandId: toId<CommandId>("command_id", held.commandId),
    attempt: integer("attempt", held.attempt, 1),
  };
}

export function encodeHeartbeat(heartbeat: Heartbeat): wire.Heartbeat {
  return {
    workerId: heartbeat.workerId,
    held: heartbeat.held.map(encodeHeld),
    freeSlots: heartbeat.freeSlots,
    pullAgeMs: Math.round(heartbeat.pullAgeMs),
    eventLoopLagMs: heartbeat.eventLoopLagMs,
    rssBytes: String(heartbeat.rssBytes),
    cpuPercent: heartbeat.cpuPercent,
    isDraining: heartbeat.isDraining,
    gpus: (heartbeat.gpus ?? []).map(encodeGpu),
    leaveMs: heartbeat.leaveMs ?? 0,
  };
}

export function decodeHeartbeat({ gpus, leaveMs, ...heartbeat }: wire.Heartbeat): Heartbeat {
  return {
    ...heartbeat,
    workerId: toWorkerId(heartbeat.workerId),
    held: heartbeat.held.map(decodeHeld),
    rssBytes: Number(heartbeat.rssBytes),
    ...decodeGpus(gpus),
    ...(leaveMs === 0 ? {} : { leaveMs }),
  };
}

export function encodeDirective(directive: Directive): wire.Directive {
  switch (directive.kind) {
    case "cancel":
    case "lost": {
      const { commandId, attempt } = directive;
      return { kind: { $case: directive.kind, value: { executionId: "", commandId, attempt } } };
    }
    case "drain":
    case "register":
      return { kind: { $case: directive.kind, value: true } };
    default:
      return unreachable(directive);
  }
}

/** Undefined for a directive that this version does not know. */
export function decodeDirective({ kind }: wire.Directive): Directive | undefined {
  switch (kind?.$case) {
    case "cancel":
    case "lost": {
      const commandId = toId<CommandId>("command_id", kind.value.commandId);
      return { kind: kind.$case, commandId, attempt: kind.value.attempt };
    }
    case "drain":
    case "register":
      return { kind: kind.$case };
    case undefined:
      return undefined;
    default:
      return unreachable(kind);
  }
}

export function encodeClaimOutcome(outcome: ClaimOutcome<GrantedCommand>): wire.ClaimOutcome {
  const { commandId } = outcome;
  switch (outcome.status) {
    case "claimed":
      return {
        commandId,
        outcome: { $case: "claimed", value: encodeClaimed(outcome.command, commandId) },
      };
    case "gone":
      return { commandId, outcome: { $case: "gone", value: true } };
    case "later":
      return { commandId, outcome: { $case: "laterMs", value: Math.ceil(outcome.delayMs) } };
    default:
      return unreachable(outcome);
  }
}

/** @param asked the command that the worker asked for. */
export function encodeClaimed(command: GrantedCommand, asked: CommandId): wire.ClaimedCommand {
  return {
    commandId: command.commandId === asked ? "" : command.commandId,
    executionId: command.executionId,
    attempt: command.attempt,
    payload: Buffer.from(command.payload),
    claimedAtMs: String(Math.round(command.claimedAtMs)),
    gpus: [...(command.gpus ?? [])],
    loggedUntilMs: String(Math.round(command.loggedUntilMs ?? 0)),
  };
}

/** An outcome that this version does not know counts as gone: the message is dropped. */
export function decodeClaimOutcome({ commandId: id, outcome }: wire.ClaimOutcome): ClaimOutcome {
  const commandId = toId<CommandId>("command_id", id);
  switch (outcome?.$case) {
    case "claimed": {
      const command = decodeClaimed(commandId, outcome.value);
      return { commandId, status: "claimed", command };
    }
    case "laterMs":
      return { commandId, status: "later", delayMs: outcome.value };
    case "gone":
    case undefined:
      return { commandId, status: "gone" };
    default:
      return unreachable(outcome);
  }
}

/** @throws AppError `invalid`. */
export function decodeClaimed(asked: CommandId, command: wire.ClaimedCommand): ClaimedCommand {
  const { commandId } = command;
  const loggedUntilMs = Number(command.loggedUntilMs);
  return {
    executionId: toId<ExecutionId>("execution_id", command.executionId),
    commandId: commandId === "" ? asked : toId<CommandId>("command_id", commandId),
    attempt: integer("attempt", command.attempt, 1),
    payload: decodePayload(decodeJson("payload", command.payload)),
    claimedAtMs: Number(command.claimedAtMs),
    ...(command.gpus.length === 0 ? {} : { gpus: command.gpus.map(decodeGrant) }),
    ...(loggedUntilMs === 0 ? {} : { loggedUntilMs }),
  };
}

/** The server made it and stored it: only its outline is checked. */
function decodePayload(payload: Json): CommandPayload {
  const outline = isJsonObject(payload) ? payload : {};
  const { step, pipeline, scope } = outline;
  if (!(isJsonObject(step) && isJsonObject(pipeline) && isJsonObject(scope))) {
    throw invalid("payload lacks step, pipeline or scope");
  }
  if (!(Array.isArray(step["tasks"]) && typeof pipeline["position"] === "number")) {
    throw invalid("payload lacks tasks or position");
  }
  return payload as unknown as CommandPayload;
}

export function encodeReport(report: CommandReport): wire.CommandReport {
  return {
    executionId: report.executionId,
    commandId: report.commandId,
    attempt: report.attempt,
    startedAtMs: String(Math.round(report.startedAtMs)),
    outcome: encodeJson(report.outcome),
    nextPool: report.nextPool ?? "",
  };
}

export function decodeReport(workerId: WorkerId, report: wire.CommandReport): CommandReport {
  return {
    executionId: toId<ExecutionId>("execution_id", report.executionId),
    commandId: toId<CommandId>("command_id", report.commandId),
    attempt: integer("attempt", report.attempt, 1),
    workerId,
    startedAtMs: Number(report.startedAtMs),
    outcome: decodeOutcome(decodeJson("outcome", report.outcome)),
    ...(report.nextPool === "" ? {} : { nextPool: report.nextPool }),
  };
}

export function decodePermitDemand(demand: wire.PermitDemand): PermitDemand {
  const { key, perSecond } = demand;
  if (key === "" || key.includes("\0") || key.length > PERMIT_KEY_CHARS_MAX) {
    throw invalid(`a rate limit's key has 1 to ${PERMIT_KEY_CHARS_MAX} characters`);
  }
  if (!(perSecond > 0 && Number.isFinite(perSecond))) {
    throw invalid("per_second must be above 0");
  }
  return { ...demand, burst: integer("burst", demand.burst, 1) };
}

export function encodeLogLine(line: LogLine): wire.LogLine {
  return {
    executionId: line.executionId,
    commandId: line.commandId,
    attempt: line.attempt,
    step: line.step,
    index: line.index,
    task: line.task,
    stream: line.stream,
    timeMs: String(Math.round(line.timeMs)),
    text: line.text,
  };
}

export function decodeLogLine(line: wire.LogLine): LogLine {
  const { index, ...fields } = line;
  return {
    ...fields,
    executionId: toId<ExecutionId>("execution_id", line.executionId),
    commandId: toId<CommandId>("command_id", line.commandId),
    attempt: integer("attempt", line.attempt, 1),
    ...(index === undefined ? {} : { index }),
    stream: line.stream === "stderr" || line.stream === "system" ? line.stream : "stdout",
    timeMs: Number(line.timeMs),
  };
}
