/** What every operation of the nats tool gets. */
import type { NatsConnection } from "nats";
import type { Json, JsonObject } from "../../core/json.ts";
import type { ToolContext } from "../tool.ts";

export interface Operation {
  readonly connection: NatsConnection;
  readonly config: JsonObject;
  /** Limit of one request to the server. */
  readonly timeoutMs: number;
  /** `timeout_ms`: how long to wait for something to be there. */
  readonly waitMs: number;
  /** Largest value that is read, bytes. */
  readonly bytesMax: number;
  readonly context: Pick<ToolContext, "signal" | "log">;
}

export type OperationRun = (operation: Operation) => Promise<Json>;

/** Text of a field; empty when it is missing, which `check` has excluded for those needed. */
export function textOf(config: JsonObject, ...names: readonly string[]): string {
  const value = names.map((name) => config[name]).find((each) => each !== undefined);
  return value === undefined || value === null ? "" : String(value);
}

/** Undefined for anything but a number, also as text. */
export function numberOf(config: JsonObject, name: string): number | undefined {
  const value = config[name];
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}
