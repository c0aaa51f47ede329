/** The execution's variables (`ctx.*`). Only playbooks write them, with `set`. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import { docs } from "../docs.ts";
import type { RouteContext } from "../route-context.ts";
import { findExecution } from "../route-context.ts";
import { ExecutionParams } from "../schema.ts";

export function variableRoutes({ reader }: RouteContext) {
  return new Elysia({ prefix: "/api/vars", normalize: false })
    .get(
      "/:id",
      async ({ params }) => {
        const { executionId } = await findExecution(reader, params.id);
        return Object.entries(await reader.listVariables(executionId)).map(viewVariable);
      },
      {
        params: ExecutionParams,
        detail: docs({ tag: "Variables", summary: "All variables of an execution" }),
      },
    )
    .get(
      "/:id/:name",
      async ({ params }) => {
        const { executionId } = await findExecution(reader, params.id);
        const variables = await reader.listVariables(executionId);
        if (!Object.hasOwn(variables, params.name)) {
          throw new AppError(
            "not_found",
            "VARIABLE_NOT_FOUND",
            `No variable ${params.name} in execution ${params.id}`,
          );
        }
        return viewVariable([params.name, variables[params.name] ?? null]);
      },
      {
        params: t.Object({ id: t.String(), name: t.String() }),
        detail: docs({ tag: "Variables", summary: "One variable", errors: { 404: "None." } }),
      },
    )
    .post(
      "/:id",
      ({ params }) => {
        throw new AppError(
          "conflict",
          "VARIABLES_READ_ONLY",
          `Variables of execution ${params.id} are written by its playbook (set), not from outside: ` +
            "give values as payload when starting it",
        );
      },
      {
        params: ExecutionParams,
        parse: "none",
        detail: docs({ tag: "Variables", summary: "Refused", errors: { 409: "Always." } }),
      },
    );
}

function viewVariable([name, value]: readonly [string, Json]) {
  return { var_name: name, var_type: "user_defined", var_value: value, source_step: null };
}
