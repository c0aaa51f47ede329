/** The language, row by row: what src/dsl/README.md is made from, and what its tests run. */
import { DOCUMENT_ROWS } from "./language/document-rows.ts";
import { KIND_ROWS } from "./language/kind-rows.ts";
import { LOOP_ROWS } from "./language/loop-rows.ts";
import type { Row } from "./language/row.ts";
import { STEP_ROWS } from "./language/step-rows.ts";
import { TASK_ROWS } from "./language/task-rows.ts";
import { TOOL_ROWS } from "./language/tool-rows.ts";
import { TRIGGER_ROWS } from "./language/trigger-rows.ts";

export const LANGUAGE: readonly Row[] = [
  ...DOCUMENT_ROWS,
  ...STEP_ROWS,
  ...LOOP_ROWS,
  ...TASK_ROWS,
  ...KIND_ROWS,
  ...TOOL_ROWS,
  ...TRIGGER_ROWS,
];
