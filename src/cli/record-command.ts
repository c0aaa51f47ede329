/** `test record`: a test from what an execution's tasks gave. */
import { stringify } from "yaml";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { parsePlaybook } from "../dsl/parse.ts";
import { isResultRef } from "../template/scope.ts";
import { makeTest } from "../testing/record.ts";
import { KNOWN_TOOL_KINDS } from "../tools/registry.ts";
import type { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { UsageError } from "./context.ts";
import { field, rowsOf } from "./format.ts";

export interface RecordFlags {
  /** The playbook's file as the test names it; default: after the last part of its path. */
  readonly playbook?: string | undefined;
  readonly name?: string | undefined;
}

const EVENT_PAGE = 1000;
/** Larger results are left out: a test is to be read. */
const VALUE_BYTES_MAX = 256 * 1024;

export async function recordTest(
  { out, note, signal }: CliContext,
  api: Api,
  id: string,
  flags: RecordFlags,
): Promise<ExitReason> {
  const execution = await api.getObject(`/api/executions/${id}?page_size=1`);
  const entry = await api.postObject("/api/catalog/resource", {
    catalog_id: execution["catalog_id"] ?? null,
  });
  const { playbook } = parsePlaybook(field(entry, "content"), { knownTools: KNOWN_TOOL_KINDS });
  if (playbook === undefined) {
    throw new UsageError(`The playbook of execution ${id} is not one that this version reads`);
  }
  const loader = new ResultLoader(api);
  const { workload, result, error_details: error } = execution;
  const events = await readEvents(api, id, signal);
  const recorded = makeTest(flags.name ?? `as execution ${id}`, playbook, {
    status: field(execution, "status"),
    workload: isJsonObject(workload) ? workload : {},
    result: await loader.load(result ?? null),
    error: isJsonObject(error) ? error : undefined,
    events: await Promise.all(events.map(async (event) => await loader.loadIn(event))),
  });
  const { path } = playbook;
  const file = flags.playbook ?? `${path.split("/").at(-1) ?? path}.yaml`;
  const version = field(execution, "version");
  out(
    [
      `# Recorded from execution ${id} of ${path} version ${version}.`,
      `# Its playbook: noetl get playbook ${path} --version ${version} > ${file}`,
      ...[...recorded.remarks, ...loader.remarks].map((remark) => `# ${remark}`),
      stringify({ playbook: file, tests: [recorded.test] }, { lineWidth: 0 }).trimEnd(),
    ].join("\n"),
  );
  for (const remark of [...recorded.remarks, ...loader.remarks]) {
    note(remark);
  }
  return "ok";
}

async function readEvents(
  api: Api,
  id: string,
  signal: AbortSignal,
): Promise<readonly JsonObject[]> {
  const events: JsonObject[] = [];
  let after: string | undefined = "0";
  while (after !== undefined && !signal.aborted) {
    const url = `/api/executions/${id}/events?after_seq=${after}&limit=${EVENT_PAGE}`;
    const page: JsonObject = await api.getObject(url);
    events.push(...rowsOf(page, "events"));
    after = field(page, "next_after_seq") || undefined;
  }
  return events;
}

/** Puts values that are stored apart where their references stand. */
class ResultLoader {
  readonly remarks: string[] = [];
  readonly #api: Api;

  constructor(api: Api) {
    this.#api = api;
  }

  async load(value: Json): Promise<Json> {
    if (isJsonObject(value) && isResultRef(value)) {
      return await this.#resolve(value.$ref, value.size);
    }
    if (Array.isArray(value)) {
      return await Promise.all(value.map(async (item: Json) => await this.load(item)));
    }
    return isJsonObject(value) ? await this.loadIn(value) : value;
  }

  async loadIn(map: JsonObject): Promise<JsonObject> {
    const entries = Object.entries(map).map(
      async ([key, value]): Promise<[string, Json]> => [key, await this.load(value)],
    );
    return Object.fromEntries(await Promise.all(entries));
  }

  async #resolve(ref: string, size: number): Promise<Json> {
    if (size > VALUE_BYTES_MAX) {
      this.remarks.push(`a result of ${size} bytes is left out: ${ref}`);
      return null;
    }
    return await this.#api.get(`/api/result/resolve?ref=${encodeURIComponent(ref)}`);
  }
}
