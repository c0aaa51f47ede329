/** Rows of loops and cursors. */
import type { Row } from "./row.ts";
import { rows } from "./row.ts";

const CURSOR = "unit/dsl/cursor.test.ts";
const LOOP = "unit/engine/loop.test.ts";
const FRAMES = "unit/engine/cursor.test.ts";
const MEANING = "unit/engine/semantics.test.ts";

export const LOOP_ROWS: readonly Row[] = [
  ...rows("loop", [
    {
      fields: "in",
      fate: "yes",
      how: "list, map (`{key, value}`), number, JSON text, stored list",
      sample: { in: "{{ items }}" },
      test: `${LOOP} › come from %s`,
    },
    {
      fields: "in",
      fate: "differently",
      how: "other text, null and booleans fail the step with NOT_ITERABLE (there: text is split at commas)",
      sample: { in: "a,b" },
      test: `${LOOP} › %s fails the step`,
    },
    {
      fields: "iterator",
      fate: "yes",
      how: "binds `iter.<name>` and `<name>`",
      sample: { iterator: "item" },
      test: `${MEANING} › items know their place, in every spelling`,
    },
    {
      fields: "iterator",
      fate: "refused",
      how: "none",
      sample: { iterator: null },
      finds: ["LOOP_ITERATOR_MISSING"],
    },
    {
      fields: "in",
      fate: "refused",
      how: "neither `in` nor `cursor`",
      sample: { in: null },
      finds: ["LOOP_SOURCE_INVALID"],
    },
    { fields: "spec", fate: "yes", how: "see below", sample: { spec: { mode: "parallel" } } },
    {
      fields: "mode",
      fate: "yes",
      how: "older place of spec.mode",
      sample: { mode: "parallel" },
      finds: ["LEGACY_FORM"],
    },
    {
      fields: "cursor",
      fate: "yes",
      how: "see below",
      sample: { in: null, cursor: { auth: "db", claim: "SELECT 1" } },
    },
    {
      fields: "cursor",
      fate: "refused",
      how: "beside `in`",
      sample: { cursor: { auth: "db", claim: "SELECT 1" } },
      finds: ["LOOP_SOURCE_INVALID"],
    },
    {
      fields: "done element",
      fate: "no effect",
      how: "leftovers",
      sample: { done: 1, element: "x" },
      finds: ["FIELD_IGNORED"],
    },
  ]),
  ...rows("loop.spec", [
    {
      fields: "mode max_in_flight",
      fate: "yes",
      how: "sequential (default), parallel (16 at a time), cursor; a template is allowed; enforced",
      sample: { mode: "parallel", max_in_flight: "{{ n }}" },
      test: `${LOOP} › never runs more items than max_in_flight`,
    },
    {
      fields: "mode",
      fate: "refused",
      how: "anything else",
      sample: { mode: "fast" },
      finds: ["LOOP_MODE_UNKNOWN"],
    },
    {
      fields: "max_in_flight",
      fate: "refused",
      how: "below 1",
      sample: { max_in_flight: 0 },
      finds: ["FIELD_NOT_INTEGER"],
    },
    {
      fields: "max_in_flight",
      fate: "no effect",
      how: "in a sequential loop",
      sample: { max_in_flight: 3 },
      finds: ["FIELD_IGNORED"],
      test: `${LOOP} › a sequential loop runs one at a time`,
    },
    { fields: "policy frame", fate: "yes", how: "see below", sample: { policy: {}, frame: {} } },
  ]),
  ...rows("loop.spec.policy", [
    {
      fields: "exec",
      fate: "differently",
      how: "checked, and without effect: pools decide where items run",
      sample: { exec: "distributed" },
    },
    {
      fields: "exec",
      fate: "refused",
      how: "other than local, distributed",
      sample: { exec: "far" },
      finds: ["LOOP_POLICY_INVALID"],
    },
    {
      fields: "failure max_failures",
      fate: "yes",
      how: "new: fail_fast (default), continue (= best_effort), `{max_failures: n}`",
      sample: { failure: "continue", max_failures: 3 },
      test: `${MEANING} › failure: %s`,
    },
  ]),
  ...rows("loop.cursor", [
    {
      fields: "kind auth claim",
      fate: "yes",
      how: "postgres (default), duckdb, snowflake, nats (= nats_stream)",
      sample: { kind: "postgres", auth: "db", claim: "SELECT 1" },
      test: `${CURSOR} › claims with its statement, as a task of its kind`,
    },
    {
      fields: "kind",
      fate: "refused",
      how: "mysql, redis: there are no such tools here",
      sample: { kind: "redis" },
      finds: ["CURSOR_KIND_UNKNOWN"],
    },
    {
      fields: "claim",
      fate: "refused",
      how: "none",
      sample: { claim: null },
      finds: ["CURSOR_INVALID"],
    },
    {
      fields: "options",
      fate: "yes",
      how: "fields of the tool; stream and consumer of nats",
      sample: { options: { schema: "s" } },
      test: `${CURSOR} › hands its options on to the tool`,
    },
    {
      fields: "heartbeat pool",
      fate: "yes",
      how: "new: a statement that keeps rows ours; pool of the claims",
      sample: { heartbeat: "SELECT 1", pool: "p" },
      test: `${FRAMES} › the rows of a frame are renewed while they run, and no longer`,
    },
  ]),
  ...rows("loop.spec.frame", [
    {
      fields: "max_rows max_bytes",
      fate: "yes",
      how: "asked for by a claim; bytes of a list that is one item",
      sample: { max_rows: 10, max_bytes: 1000 },
      test: `${FRAMES} › hands claims the names that their statements read`,
    },
    {
      fields: "process row_concurrency",
      fate: "yes",
      how: "row or frame; rows at a time",
      sample: { process: "row", row_concurrency: 2 },
      test: `${FRAMES} › runs one row at a time, or as many as row_concurrency says`,
    },
    {
      fields: "max_seconds lease_seconds max_attempts",
      fate: "yes",
      how: "limit of a claim; `__frame_lease_seconds`; handings out when workers are lost",
      sample: { max_seconds: 30, lease_seconds: 60, max_attempts: 2 },
      test: `${CURSOR} › takes all of them from the document`,
    },
    {
      fields: "heartbeat_seconds",
      fate: "differently",
      how: "needs the `heartbeat` statement in SQL cursors",
      sample: { heartbeat_seconds: 5 },
      finds: ["FIELD_IGNORED"],
      test: `${FRAMES} › the rows of a frame are renewed while they run, and no longer`,
    },
    {
      fields: "retry_mode",
      fate: "differently",
      how: "follows from `process`",
      sample: { retry_mode: "whole_frame" },
      finds: ["FIELD_IGNORED"],
    },
    {
      fields: "process",
      fate: "refused",
      how: "anything else",
      sample: { process: "all" },
      finds: ["CURSOR_INVALID"],
    },
    {
      fields: "verify_ipc",
      fate: "no effect",
      how: "there is no shared memory",
      sample: { verify_ipc: true },
      finds: ["FIELD_IGNORED"],
    },
  ]),
];
