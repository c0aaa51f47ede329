/**
 * What a route tells the OpenAPI document. Answers are described, not validated at run time: that
 * would cost each request and could only turn a good answer into an error.
 */

import type { TSchema } from "@sinclair/typebox";
import { t } from "elysia";

const ErrorSchema = t.Object({
  error: t.String({ description: "For people." }),
  code: t.String({ description: "Stable, for programs." }),
  status: t.Number(),
  details: t.Object({}, { additionalProperties: true }),
});

export interface RouteDocs {
  readonly summary: string;
  readonly tags: string[];
  readonly description: string;
  readonly responses: Record<string, { description: string; content: Record<string, object> }>;
}

export interface RouteText {
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** Shape of the JSON answer; absent: anything. */
  readonly answer?: TSchema;
  /** Content type of the answer; default JSON. */
  readonly type?: string;
  /** Error statuses that it may answer, with the reason. */
  readonly errors?: Readonly<Record<number, string>>;
}

/** The `detail` of a route. */
export function docs(text: RouteText): RouteDocs {
  const schema = text.answer ?? {};
  const content = { [text.type ?? "application/json"]: { schema } };
  const errors = Object.entries(text.errors ?? {}).map(([status, description]) => [
    status,
    { description, content: { "application/json": { schema: ErrorSchema } } },
  ]);
  return {
    summary: text.summary,
    tags: [text.tag],
    description: text.description ?? text.summary,
    responses: { "200": { description: "Done.", content }, ...Object.fromEntries(errors) },
  };
}
