/**
 * What an outside watcher of Kubernetes Jobs reports of a container task. A worker watches its Jobs by itself and
 * finds out sooner, so a report changes nothing: its caller is told whether the task is still open, and goes on.
 */
import { Elysia, t } from "elysia";
import type { ExecutionId } from "../../core/ids.ts";
import type { OpenCommand } from "../backend.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import type { RouteContext } from "../route-context.ts";
import { readId } from "../schema.ts";

/** Kinds of tools that run in containers. */
const KINDS: ReadonlySet<string> = new Set(["container", "cuda"]);

const STATES = [
  "succeeded",
  "failed",
  "failed_image_pull",
  "failed_oom",
  "failed_node_lost",
  "failed_timeout",
] as const;

const Body = t.Object(
  { state: t.Union(STATES.map((state) => t.Literal(state))), job_name: t.String() },
  { additionalProperties: true },
);

export function containerCallbackRoutes({ reader }: Pick<RouteContext, "reader">) {
  return new Elysia({ normalize: false }).post(
    "/api/internal/container-callback/:eid/:step",
    async ({ params, set }) => {
      const executionId = readId<ExecutionId>(params.eid, "execution id");
      const commands = await reader.listOpenCommands(executionId);
      const isOpen = commands.some((command) => isContainer(command, params.step));
      set.status = 202;
      return { status: isOpen ? "accepted" : "accepted_stale", event_id: null };
    },
    {
      parse: JSON_BODY,
      params: t.Object({ eid: t.String(), step: t.String() }),
      body: Body,
      detail: docs({
        tag: "Events",
        summary: "Report the end of a Kubernetes Job",
        description:
          "For watchers of the public project. 202 with `accepted` while a container task of the step is open: its " +
          "worker watches the Job itself, and decides; else `accepted_stale`.",
        errors: { 422: "No such state." },
      }),
    },
  );
}

function isContainer({ step, tool, status }: OpenCommand, wanted: string): boolean {
  return step === wanted && status !== "queued" && tool !== undefined && KINDS.has(tool);
}
