/** The execution's variables (`ctx.*`): written by playbooks with `set`, and from outside while it runs. */
import { Elysia, t } from "elysia";
import { AppError } from "../../core/errors.ts";
import type { ExecutionId } from "../../core/ids.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { JSON_BODY } from "../body.ts";
import { docs } from "../docs.ts";
import type { RouteContext } from "../route-context.ts";
import { countWrite, findExecution } from "../route-context.ts";
import { Any, ExecutionParams, readId, readObject } from "../schema.ts";

const TAG = "Variables";
const VARIABLES_MAX = 1000;
const NOT_FOUND = { 404: "No such execution or variable." };
const ERRORS = { ...NOT_FOUND, 409: "The execution has ended, or has not started." };

const NameParams = t.Object({
  id: t.String({ description: "Execution id." }),
  name: t.String({ description: "Name of the variable." }),
});

const SetBody = t.Object(
  {
    variables: t.Union([
      t.Array(
        t.Object(
          { var_name: t.String({ minLength: 1 }), var_value: t.Optional(Any) },
          { additionalProperties: true },
        ),
        { maxItems: VARIABLES_MAX },
      ),
      t.Object({}, { additionalProperties: true }),
    ]),
  },
  { additionalProperties: true },
);

export function variableRoutes(context: RouteContext) {
  return new Elysia({ prefix: "/api/vars", normalize: false })
    .use(readRoutes(context))
    .use(writeRoutes(context));
}

function readRoutes({ reader }: RouteContext) {
  return new Elysia({ normalize: false })
    .get(
      "/:id",
      async ({ params }) => {
        const { executionId } = await findExecution(reader, params.id);
        return Object.entries(await reader.listVariables(executionId)).map(viewVariable);
      },
      {
        params: ExecutionParams,
        detail: docs({ tag: TAG, summary: "All variables of an execution", errors: NOT_FOUND }),
      },
    )
    .get(
      "/:id/:name",
      async ({ params }) => {
        const { executionId } = await findExecution(reader, params.id);
        const variables = await reader.listVariables(executionId);
        checkKnown(variables, params);
        return viewVariable([params.name, variables[params.name] ?? null]);
      },
      {
        params: NameParams,
        detail: docs({ tag: TAG, summary: "One variable", errors: NOT_FOUND }),
      },
    );
}

function writeRoutes({ orchestrator, reader, metrics }: RouteContext) {
  const remove = async (id: ExecutionId, removed: readonly string[]): Promise<void> =>
    await countWrite(metrics, "vars", () =>
      orchestrator.writeVariables(id, { values: {}, removed }),
    );
  return new Elysia({ normalize: false })
    .post(
      "/:id",
      async ({ params, body }) => {
        const id = readId<ExecutionId>(params.id, "execution id");
        const values = readVariables(body.variables);
        await countWrite(metrics, "vars", () =>
          orchestrator.writeVariables(id, { values, removed: [] }),
        );
        const count = Object.keys(values).length;
        return { execution_id: id, variables_set: count, status: "success" };
      },
      {
        params: ExecutionParams,
        parse: JSON_BODY,
        body: SetBody,
        detail: docs({
          tag: TAG,
          summary: "Write variables of a running execution",
          description:
            "`variables`: a list of `{var_name, var_value}`, or a map. Each becomes `ctx.<name>` in one " +
            "commit; guards, `set` and tasks that start from then on see it, tasks that run already do not.",
          errors: ERRORS,
        }),
      },
    )
    .delete(
      "/:id",
      async ({ params }) => {
        const { executionId } = await findExecution(reader, params.id);
        const names = Object.keys(await reader.listVariables(executionId));
        await remove(executionId, names);
        return { execution_id: executionId, variables_deleted: names.length, status: "success" };
      },
      {
        params: ExecutionParams,
        detail: docs({ tag: TAG, summary: "Delete all variables", errors: ERRORS }),
      },
    )
    .delete(
      "/:id/:name",
      async ({ params }) => {
        const { executionId } = await findExecution(reader, params.id);
        checkKnown(await reader.listVariables(executionId), params);
        await remove(executionId, [params.name]);
        return { execution_id: executionId, var_name: params.name, status: "deleted" };
      },
      {
        params: NameParams,
        detail: docs({ tag: TAG, summary: "Delete one variable", errors: ERRORS }),
      },
    );
}

/** @throws AppError not_found VARIABLE_NOT_FOUND. */
function checkKnown(variables: JsonObject, { id, name }: typeof NameParams.static): void {
  if (!Object.hasOwn(variables, name)) {
    throw new AppError("not_found", "VARIABLE_NOT_FOUND", `No variable ${name} in execution ${id}`);
  }
}

function readVariables(variables: (typeof SetBody.static)["variables"]): JsonObject {
  return Array.isArray(variables)
    ? Object.fromEntries(variables.map(({ var_name, var_value }) => [var_name, var_value ?? null]))
    : (readObject(variables, "variables") ?? {});
}

function viewVariable([name, value]: readonly [string, Json]) {
  return { var_name: name, var_type: "user_defined", var_value: value, source_step: null };
}
