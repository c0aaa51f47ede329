/** The doorbell on the command stream: says that a command waits, carries no inputs, no secrets. */
import type { CommandId, ExecutionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import type { Json } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { CommandNotification } from "../engine/command.ts";

/** JSON text in the public project's spelling. `serverUrl` is for its workers; ours ignore it. */
export function encodeNotification(notification: CommandNotification, serverUrl?: string): string {
  return JSON.stringify({
    execution_id: notification.executionId,
    event_id: notification.eventId,
    command_id: notification.commandId,
    step: notification.step,
    attempt: notification.attempt,
    traceparent: notification.trace,
    server_url: serverUrl,
  });
}

/** Undefined for anything that is not a notification. */
export function decodeNotification(text: string): CommandNotification | undefined {
  const fields = parseObject(text);
  const executionId = idText(fields["execution_id"]);
  const commandId = idText(fields["command_id"]);
  const attempt = fields["attempt"];
  const trace = fields["traceparent"];
  if (
    executionId === undefined ||
    commandId === undefined ||
    typeof attempt !== "number" ||
    !Number.isInteger(attempt) ||
    attempt < 1
  ) {
    return undefined;
  }
  return {
    executionId: executionId as ExecutionId,
    commandId: commandId as CommandId,
    eventId: String(fields["event_id"] ?? ""),
    step: String(fields["step"] ?? ""),
    attempt,
    ...(typeof trace === "string" ? { trace } : {}),
  };
}

function parseObject(text: string): Readonly<Record<string, Json>> {
  try {
    const value = parseJson(text);
    return isJsonObject(value) ? value : {};
  } catch {
    // Not JSON: as undecodable as an object without ids.
    return {};
  }
}

/** Other clients may send ids as numbers. */
function idText(value: Json | undefined): string | undefined {
  const text = typeof value === "number" ? String(value) : value;
  return isId(text) ? text : undefined;
}
