/** Container tasks against real runtimes, the way a worker runs them. */
import { join } from "node:path";
import { NO_RUNTIMES } from "../../../src/containers/host.ts";
import type { ContainerRuntime } from "../../../src/containers/runtime.ts";
import type { JsonObject } from "../../../src/core/json.ts";
import type { Tools, ToolsOptions } from "../../../src/tools/registry.ts";
import { createTools } from "../../../src/tools/registry.ts";
import type { ToolCommand } from "../../../src/tools/tool.ts";
import type { TestRuntime } from "../../support/container-runtime.ts";
import type { Call, Ran } from "./call.ts";
import { run } from "./call.ts";

/** Of all containers of these tests. */
export const PLATFORM = "test-platform";

/** Tools of a new worker on a machine that has this runtime. */
export async function containerTools(
  runtimes: readonly ContainerRuntime[],
  more: Partial<ToolsOptions> = {},
): Promise<Tools> {
  const tools = createTools({
    selfCommand: [process.execPath, join(import.meta.dir, "../../../src/main.ts")],
    env: process.env,
    runtimes: {
      ...NO_RUNTIMES,
      usable: () => Promise.resolve(runtimes),
      identity: () => ({ platformId: PLATFORM, workerId: "worker-1", process: "none:1:0" }),
    },
    ...more,
  });
  // Whether there are runtimes is known a moment later.
  await Promise.resolve();
  return tools;
}

let serial = 0;

/** Of a command that no other test has. */
export function newCommand(): ToolCommand {
  const commandId = `${process.pid}${String(++serial).padStart(4, "0")}`;
  return { executionId: "7300000000000000001", commandId, attempt: 1 };
}

/** What the image of the tests needs: no network is to be had everywhere. */
export function taskOf(runtime: TestRuntime, config: JsonObject): JsonObject {
  return { image: runtime.image, network: "none", ...config };
}

/** Runs one task and lets go of its container. */
export async function runContainer(
  tools: Tools,
  call: Call & { readonly kind?: "container" | "cuda" },
): Promise<Ran> {
  const tool = tools.get(call.kind ?? "container");
  const command = call.command ?? newCommand();
  try {
    return await run(tool, { ...call, command });
  } finally {
    await tool?.settled?.(command);
  }
}

/** Names of the containers of that command which the runtime still has, ended ones included. */
export async function containersOf(runtime: TestRuntime, command: ToolCommand) {
  const found = await runtime.connect().list(PLATFORM);
  return found.filter(({ owner }) => owner.commandId === command.commandId);
}
