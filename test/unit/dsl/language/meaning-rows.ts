/** What documents mean: each sentence with the test that shows it. */

export interface MeaningRow {
  readonly says: string;
  /** `path below test/ › title`. */
  readonly test: string;
}

const PARSE = "unit/dsl/parse.test.ts";
const DIAGNOSTIC = "unit/dsl/diagnostic.test.ts";
const FLOW = "unit/engine/flow.test.ts";
const FAILURE = "unit/engine/failure.test.ts";
const LOOP = "unit/engine/loop.test.ts";
const PIPELINE = "unit/engine/pipeline.test.ts";
const MEANING = "unit/engine/semantics.test.ts";
const RENDER = "unit/template/render.test.ts";
const STORED = "unit/engine/stored.test.ts";
const RESULTS = "integration/orchestrator/results.test.ts";

const rows: readonly (readonly [string, string])[] = [
  [
    "Diagnostics carry code, path, line and column, in the order of the document",
    `${DIAGNOSTIC} › diagnostics come in the order of the document, with columns`,
  ],
  ["They say what was probably meant", `${DIAGNOSTIC} › messages say what was probably meant`],
  ["Size, depth and aliases are limited", `${DIAGNOSTIC} › errors of the document`],
  ["Any text gets an answer", "unit/dsl/property.test.ts › any text gets an answer"],
  [
    "A document with errors is refused with all of them (422)",
    "unit/server/resources.test.ts › a refused playbook says every error in the text and in details",
  ],
  [
    "Unknown keys and older forms are warnings in the answer; strict, they refuse it",
    "integration/server/documents.test.ts › warnings are in the answer, and refuse a document that is to be strict",
  ],
  [
    "The same content again is the same version",
    "integration/store/catalog.test.ts › savePlaybook() numbers versions without gaps and keeps one for the same content",
  ],
  [
    "A document comes back byte for byte",
    "integration/server/documents.test.ts › a document comes back byte for byte, whatever is in it",
  ],
  ["Entry: `entry_step`, else `start`, else the first", `${PARSE} › the entry of %p is %p`],
  [
    "Exclusive takes the first arc that holds, inclusive all",
    `${MEANING} › exclusive takes the first arc that holds, inclusive all of them`,
  ],
  [
    "join auto: branches meet once, alternatives at once, a dead branch or a back-edge blocks nothing",
    `${FLOW} › parallel branches meet once, after the last of them`,
  ],
  ["… alternatives", `${FLOW} › alternatives converge at once`],
  ["… a branch that dies", `${FLOW} › a branch that dies does not block the join`],
  ["… a back-edge", `${FLOW} › a back-edge does not block the entry of its cycle`],
  [
    "… a ring is released oldest first",
    `${FLOW} › tokens that wait for each other in a ring are released oldest first`,
  ],
  ["join any: once for each token", `${MEANING} › join any runs once for each token`],
  [
    "join all: one token for each arc, else the execution fails",
    `${FLOW} › fails the execution when an arc can no longer be taken`,
  ],
  [
    "A step's value is that of its last finished visit",
    `${MEANING} › the value of a step is that of its last visit`,
  ],
  [
    "A step without `next` goes to `end` if nothing else does",
    `${MEANING} › a step without next goes to an end that nothing else leads to, and its value is the result`,
  ],
  ["No arc matches: complete, fail, quiet", `${FLOW} › on_no_match %s ends %s`],
  [
    "Not admitted = skipped, its arcs are not read",
    `${FLOW} › a step that is not admitted is skipped with its arcs`,
  ],
  [
    "`set` of the step, guards, `set` of the arcs: in this order, once, durable",
    `${FLOW} › writes the step's set, then reads guards, then writes the arc's set`,
  ],
  [
    "A failed step fails the execution, unless an arc looks at the error",
    `${FAILURE} › is handled by an arc with %s`,
  ],
  [
    "What failed is told with place, kind, code, message and stderr",
    `${MEANING} › what failed is told with step, task, index, attempt, kind, code, message and stderr`,
  ],
  [
    "drain, fail_fast, best_effort",
    `${FAILURE} › drain dispatches nothing more and lets running tasks end`,
  ],
  [
    "Retries count all tries and honour Retry-After",
    `${PIPELINE} › retry honours Retry-After and stops after all attempts`,
  ],
  [
    "Long waits between tries give the slot back",
    "integration/worker/worker.test.ts › short retries happen in the slot, long ones give it back",
  ],
  [
    "A lost worker's command is handed out again",
    `${FAILURE} › a worker lost three times fails the command`,
  ],
  ["Items from lists, maps, numbers, JSON text, earlier loops", `${LOOP} › come from %s`],
  ["… from a stored list, read one by one", `${STORED} › a loop iterates over a stored list`],
  ["Anything else fails the step", `${LOOP} › %s fails the step`],
  [
    "Nothing to do completes the step with an empty result",
    `${LOOP} › none at all completes the step with an empty result`,
  ],
  ["max_in_flight is kept", `${LOOP} › never runs more items than max_in_flight`],
  [
    "Results are in the order of the items",
    `${LOOP} › results are ordered by index, whatever the order of arrival`,
  ],
  ["fail_fast, continue, max_failures", `${MEANING} › failure: %s`],
  [
    "The value is a list with `.results`, `.data`, `.stats`; `loop.done` is true once",
    `${MEANING} › the value is a list with statistics, and loop.done is true once, at the end`,
  ],
  [
    "`iter`, `_index`, `_total`, `loop_index`, `loop.*`",
    `${MEANING} › items know their place, in every spelling`,
  ],
  [
    "`iter.*` of rules lives with its item, `ctx.*` with the execution",
    `${MEANING} › iter that rules write lives with its item, ctx with the execution`,
  ],
  [
    "Cursors claim frames until there are no rows",
    "unit/engine/cursor.test.ts › claims, runs the rows of the frame, and claims again until there are none",
  ],
  ["`workload` stays what it was", `${MEANING} › workload stays what it was, whatever set writes`],
  [
    "The payload is merged deep, and never evaluated",
    `${MEANING} › a payload is merged over the workload, deep for maps, and never evaluated`,
  ],
  [
    "Names: workload keys, `workload`, `ctx`, steps, `steps`, `execution_id`, `job.*`, `path`, `version`, `_attempt`",
    `${MEANING} › names in scope`,
  ],
  [
    "… `env.NAME` that the operator allows",
    "integration/worker/worker.test.ts › templates of tasks read the variables that the operator names, and no others",
  ],
  ["… sibling labels, `results`, `_prev`", `${PIPELINE} › scope of a task`],
  [
    "… `event`, `output`, `error` where something has just ended",
    `${FLOW} › output and event say how the step ended`,
  ],
  [
    "… `keychain.*` in the fields of tasks only",
    "integration/secrets/keychain.test.ts › templates that decide the route cannot read the keychain: a warning, and a clear failure",
  ],
  [
    "A lone expression keeps its type, mixed text is text, numeric text stays text",
    `${MEANING} › a lone expression keeps its type, mixed text is text, numeric text stays text`,
  ],
  [
    "Undefined is chainable, alone null, in text nothing",
    `${RENDER} › a lone expression keeps its type`,
  ],
  [
    "Guards use Python's truth; `false no off none null 0` as text are false",
    "unit/template/guard.test.ts › the guard %p is %p",
  ],
  [
    "Data that holds braces is never evaluated",
    `${RENDER} › data that holds braces is never evaluated`,
  ],
  ["`output`: status, data, error, http, pg, and any name of the data", `${PIPELINE} › output`],
  [
    "A step's value: `.data`, `.status`, `.error`, `.result`, `.context`",
    `${MEANING} › the value of a step answers to data, status, error, result and context`,
  ],
  [
    "A pipeline's value merges its tasks and keeps their labels",
    `${MEANING} › a pipeline's value merges its tasks and keeps them by label`,
  ],
  [
    "http: `.data` = `.body`, `.status_code`, `.headers`",
    "integration/tools/http.test.ts › gives status, headers, and the body under both names",
  ],
  [
    "postgres and duckdb: `.rows`, `.columns`, `.row_count`, `.command_N`",
    "integration/tools/duckdb.test.ts › have the shape of the postgres tool's",
  ],
  [
    "Large results: `_ref`, `_uri`, `_store`, `_size`, selected fields",
    `${STORED} › where it is stored can be read without loading it`,
  ],
  [
    "… addresses and scopes",
    `${RESULTS} › values of scope workflow belong to the outermost execution, whose others find them by name`,
  ],
  [
    "A sub-playbook's result is the step's value; cancelling reaches it; depth is limited",
    "unit/engine/child.test.ts › nests to a depth of 16",
  ],
  [
    "… a result that says error fails its step",
    `${MEANING} › a sub-playbook whose result says error fails its step, which an arc may handle`,
  ],
  [
    "Cancelling a parent cancels its children",
    "integration/orchestrator/recovery.test.ts › cancelling a parent cancels its child and waits for it",
  ],
  [
    "… not without cascade",
    "integration/orchestrator/recovery.test.ts › cancelling without cascade leaves the child alone",
  ],
  [
    "`retry` keeps what went well",
    "unit/engine/retry.test.ts › runs what failed again and keeps the rest",
  ],
  [
    "`cancel` ends when all is confirmed gone",
    `${FAILURE} › ends when the last command is confirmed gone`,
  ],
  [
    "`rerun` starts over",
    "integration/orchestrator/operate.test.ts › a rerun starts over with the same version and payload",
  ],
  [
    "Events answer to every spelling of their names",
    "unit/server/executions.test.ts › GET /{id}/events pages, and filters in any spelling",
  ],
  [
    "Waits end by time or signal",
    "unit/engine/wait.test.ts › takes signals that came before it, in order, each once",
  ],
  [
    "Any document that is accepted comes to an end",
    "unit/engine/document-property.test.ts › any accepted document comes to an end, whatever happens meanwhile",
  ],
  [
    "The engine answers any input in any state",
    "unit/engine/document-property.test.ts › decide never throws, whatever it is given",
  ],
];

export const MEANING_ROWS: readonly MeaningRow[] = rows.map(([says, test]) => ({ says, test }));

/** Names that the public project has and we have not, or not so. */
export const ABSENT_NAMES: readonly (readonly [string, string])[] = [
  [
    "`catalog_id`, `server_url`, `worker_id`, `command_id`, `action`, `node_name`",
    "undefined: they say where something runs, not what it works on",
  ],
  ["`event.payload`, `event.timestamp`", "undefined: read `output`"],
  ["`output.ref`, `step.reference.ref`", "`output._ref`, `step._ref`"],
  ["`output.py`", "undefined: the error is in `output.error`"],
  ["`_task`", "undefined"],
  ["`<map>.result` of any map", "only of steps and tasks"],
];
