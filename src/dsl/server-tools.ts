/** The kinds of tools that the server runs itself, or puts others in the place of. */
import type { ToolDescription, ToolDescriptions } from "./tool-description.ts";

const PLAYBOOK: ToolDescription = {
  kind: "playbook",
  summary: "runs another playbook and gives what it ends with; no worker's slot is held meanwhile",
  runsOn: "server",
  needs: [{ oneOf: ["path"], text: "a path; a catalog_id is one of a single server" }],
  fields: {
    path: { type: "text", about: "path of the playbook in the catalog" },
    version: { type: "scalar", about: "one version of it", default: "latest" },
    payload: { type: "any", about: "merged over its workload, as `input` is" },
    workload: { type: "any", about: "the same" },
    return_step: { type: "text", about: "step whose value counts in place of the last one's" },
    result_step: { sameAs: "return_step" },
    wait: {
      type: ["boolean", "text"],
      about: "false: go on at once, with the execution's id",
      default: true,
    },
    execution_pool: { type: "text", about: "pool of its steps that name none" },
    return_result: { type: "any", about: "a result is always given", isIgnored: true },
    poll_interval: { type: "any", about: "nothing is polled", isIgnored: true },
    parent_execution_id: { type: "any", about: "the server knows it", isIgnored: true },
  },
  result: "the value that the playbook ends with; without `wait` execution_id and status",
  failures: {
    not_found: "no such playbook or version",
    limit: "sub-playbooks nested too deep, or a concurrency key at its limit",
    "…": "what the playbook failed with",
  },
  example: "kind: playbook\npath: examples/score\ninput:\n  customer: 17\n",
};

const WAIT: ToolDescription = {
  kind: "wait",
  summary: "waits for a time or a signal; holds nothing but a row",
  runsOn: "server",
  needs: [
    {
      oneOf: ["duration", "until", "signal"],
      text: "a duration, a time (until) or a signal",
    },
  ],
  fields: {
    duration: { type: "duration", about: "how long" },
    until: { type: "time", about: "until when; a time that has passed is not waited for" },
    signal: { type: "scalar", about: "name of the signal" },
    deadline: {
      type: ["duration", "time"],
      about: "when to give up, as `timeout`; the earlier counts",
    },
    on_timeout: {
      type: "text",
      about: "whether a signal that did not come is a failure",
      choices: ["fail", "continue"],
      default: "fail",
    },
  },
  result: {
    signal: "name of the signal",
    payload: "what was sent with it; its fields can be read without `.payload`",
    received_at: "when",
    sender: "who sent it, if that was said",
    timed_out: "true if none came in time",
  },
  failures: { timeout: "the deadline has come (WAIT_TIMEOUT)" },
  example: "kind: wait\nsignal: approve\ntimeout: 2d\non_timeout: continue\n",
};

const WORKBOOK: ToolDescription = {
  kind: "workbook",
  summary: "the tool of a workbook entry, put in place when the document is read",
  runsOn: "server",
  fields: {
    name: { type: "text", about: "name of the entry; in a pipeline `workbook`" },
    workbook: { sameAs: "name" },
    task: { sameAs: "name" },
  },
  result: "what the entry's tool gives",
  example: "kind: workbook\nname: fetch_weather\ninput:\n  city: Paris\n",
};

export const SERVER_TOOLS: ToolDescriptions = new Map(
  [PLAYBOOK, WAIT, WORKBOOK].map((description) => [description.kind, description]),
);
