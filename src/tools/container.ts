/**
 * Runs a program in a container: of docker, podman or nerdctl on the worker's machine, or as a Job of a cluster.
 *
 * The container outlives the worker. A task is told from others by command and attempt, and so is its container:
 * the next worker finds it and goes on. It is removed when the outcome of its command has arrived.
 */
import type { JsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import { CONTAINER } from "./container/description.ts";
import { readPlan } from "./container/plan.ts";
import type { ContainerRunParts, HeldContainer } from "./container/run.ts";
import { runContainer } from "./container/run.ts";
import type { Tool, ToolCall, ToolCommand, ToolModule } from "./tool.ts";

/**
 * Beyond the grace: to kill, to look, and for processes to leave the GPUs. A runtime that is away for longer is not
 * waited for when the worker stops: the container is found again.
 */
const STOP_MARGIN_MS = 60_000;

export type ContainerToolParts = ContainerRunParts;

export const containerModule: ToolModule = {
  descriptions: [CONTAINER],
  create: (parts) => [createContainerTool(CONTAINER, parts)],
};

/**
 * @param toConfig of a tool that is another way to write this one: what `container` would say. Its result must
 *   follow from the fields alone.
 */
export function createContainerTool(
  description: ToolDescription,
  parts: ContainerToolParts,
  toConfig: (config: JsonObject) => JsonObject = (config) => config,
): Tool {
  const held = new Map<string, HeldContainer>();
  let isUsable: boolean | undefined;
  parts.runtimes.usable().then(
    (found) => {
      isUsable = found.length > 0;
    },
    () => undefined,
  );
  const run = async (call: ToolCall, context: Parameters<Tool["run"]>[1]) =>
    await runContainer({
      parts,
      call: { ...call, config: toConfig(call.config) },
      context,
      gpuDefault: description.gpuDefault ?? 0,
      onHeld: (container) => void held.set(keyOf(context.command), container),
    });
  return {
    description,
    run,
    lacks: () => (isUsable === true ? undefined : LACK),
    stopMs: (config) => readPlan(toConfig(config)).plan.timeouts.stopGraceMs + STOP_MARGIN_MS,
    forget: (command) => void held.delete(keyOf(command)),
    settled: async (command) => {
      const container = held.get(keyOf(command));
      held.delete(keyOf(command));
      await container?.runtime.remove(container.handle);
    },
  };
}

const LACK = "there is no container runtime that can be used: see `noetl health`";

function keyOf({ commandId, attempt }: ToolCommand): string {
  return `${commandId}:${attempt}`;
}
