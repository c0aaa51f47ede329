/** `register`, `list`, `get`: what the platform knows. */
import { AppError, errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { TEST_FILE } from "../testing/test-case.ts";
import type { Api } from "./api.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { readCredentials, showCredential } from "./credential-commands.ts";
import { expandPaths } from "./files.ts";
import { field, formatDuration, formatJson, formatTable, formatTime, rowsOf } from "./format.ts";
import { countsOf, countText, runtimesText } from "./gpu-text.ts";
import { readText } from "./payload.ts";

export interface JsonFlag {
  readonly json?: boolean | undefined;
}

export interface RegisterFlags extends JsonFlag {
  readonly kind: "playbook" | "credential";
  readonly strict?: boolean | undefined;
}

/** Playbooks, or credentials (JSON or YAML, one or a list); folders are read with all below. */
export async function register(
  { out, note }: CliContext,
  api: Api,
  paths: readonly string[],
  flags: RegisterFlags,
): Promise<ExitReason> {
  const { kind } = flags;
  const answers: Json[] = [];
  let failures = 0;
  for (const path of await expandPaths(paths, PATTERNS[kind], (name) => !TEST_FILE.test(name))) {
    try {
      for (const answer of await registerFile(api, path, flags)) {
        answers.push(answer);
        for (const warning of rowsOf(answer, "warnings")) {
          note(warningLine(path, warning));
        }
        if (flags.json !== true) {
          out(registeredLine(answer));
        }
      }
    } catch (error) {
      if (!(error instanceof AppError) || error.code === "SERVER_UNREACHABLE") {
        throw error;
      }
      failures++;
      note(`${path}: ${errorMessage(error)}`);
    }
  }
  if (flags.json === true) {
    out(formatJson(answers));
  }
  return failures === 0 ? "ok" : "failed";
}

const PATTERNS = { playbook: "**/*.{yaml,yml}", credential: "**/*.{json,yaml,yml}" } as const;

/** A file of credentials may hold several. */
async function registerFile(
  api: Api,
  path: string,
  { kind, strict }: RegisterFlags,
): Promise<readonly JsonObject[]> {
  const content = await readText(path);
  if (kind === "playbook") {
    return [await api.postObject("/api/catalog/register", { content, strict: strict === true })];
  }
  const answers: JsonObject[] = [];
  for (const credential of readCredentials(content, path)) {
    answers.push(await api.postObject("/api/credentials", credential));
  }
  return answers;
}

/** Of documents with their line; of credentials plain texts. */
function warningLine(path: string, warning: JsonObject | string): string {
  return typeof warning === "string"
    ? `${path}: warning: ${warning}`
    : `${path}:${field(warning, "line")}: warning: ${field(warning, "message")}`;
}

function registeredLine(answer: JsonObject): string {
  return answer["path"] === undefined
    ? `Saved credential ${field(answer, "name")} (${field(answer, "type")})`
    : `Registered ${field(answer, "path")} version ${field(answer, "version")}`;
}

export const LISTS = [
  "executions",
  "playbooks",
  "schedules",
  "subscriptions",
  "credentials",
  "pools",
  "workers",
] as const;
export type ListName = (typeof LISTS)[number];

export interface ListFlags extends JsonFlag {
  readonly path?: string | undefined;
  readonly status?: string | undefined;
  readonly limit?: string | undefined;
}

interface ListView {
  readonly url: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Name of the list in the answer; absent: the answer is the list. */
  readonly key?: string;
  readonly headings: readonly string[];
  readonly cells: (row: JsonObject) => readonly string[];
}

const LIST_VIEWS: Readonly<Record<ListName, ListView>> = {
  executions: {
    url: "/api/executions",
    headings: ["execution", "playbook", "status", "started", "took", "remark"],
    cells: (row) => [
      field(row, "execution_id"),
      `${field(row, "path")} v${field(row, "version")}`,
      field(row, "status"),
      formatTime(row["started_at"]),
      formatDuration(Number(row["duration_seconds"]) * 1000),
      field(row, "waiting_reason"),
    ],
  },
  playbooks: {
    url: "/api/catalog/list/playbook",
    query: { include_content: "false" },
    key: "entries",
    headings: ["path", "version", "catalog id", "registered"],
    cells: (row) => [
      field(row, "path"),
      field(row, "version"),
      field(row, "catalog_id"),
      formatTime(row["created_at"]),
    ],
  },
  schedules: {
    url: "/api/schedules",
    key: "schedules",
    headings: ["schedule", "playbook", "when", "zone", "overlap", "next"],
    cells: (row) => [
      field(row, "name"),
      field(row, "playbook"),
      field(row, "cron") || `every ${formatDuration(Number(row["interval_seconds"]) * 1000)}`,
      field(row, "timezone"),
      field(row, "overlap"),
      row["enabled"] === true ? formatTime(row["next_run_at"]) : "paused",
    ],
  },
  subscriptions: {
    url: "/api/subscriptions",
    key: "subscriptions",
    headings: ["subscription", "source", "from", "playbook", "state", "circuit", "problem"],
    cells: (row) => [
      field(row, "path"),
      field(row, "source"),
      field(row, "subject") || field(row, "hook"),
      field(row, "playbook"),
      field(row, "state"),
      field(row, "circuit"),
      field(row, "problem"),
    ],
  },
  credentials: {
    url: "/api/credentials",
    key: "items",
    headings: ["name", "type", "updated", "description"],
    cells: (row) => [
      field(row, "name"),
      field(row, "type"),
      formatTime(row["updated_at"]),
      field(row, "description"),
    ],
  },
  pools: {
    url: "/api/worker/pools",
    headings: ["pool", "workers", "slots", "free", "queued", "running", "gpus", "remark"],
    cells: (row) => [
      field(row, "name"),
      field(row, "workers"),
      field(row, "slots"),
      field(row, "free_slots"),
      field(row, "queued"),
      field(row, "running"),
      countText(countsOf(row)),
      field(row, "waiting_reason"),
    ],
  },
  workers: {
    url: "/api/workers",
    key: "workers",
    headings: [
      ...["worker", "pool", "status", "slots", "free", "host", "pid", "heartbeat"],
      ...["containers", "gpus"],
    ],
    cells: (row) => [
      field(row, "name"),
      field(row, "pool"),
      field(row, "status"),
      field(row, "slots"),
      field(row, "free_slots"),
      field(row, "hostname"),
      field(row, "pid"),
      formatTime(row["last_heartbeat"]),
      runtimesText(row),
      countText(countsOf(row)),
    ],
  },
};

export async function list(
  { out, note }: CliContext,
  api: Api,
  name: ListName,
  flags: ListFlags,
): Promise<ExitReason> {
  const view = LIST_VIEWS[name];
  const query = new URLSearchParams(view.query);
  for (const key of ["path", "status", "limit"] as const) {
    const value = flags[key];
    if (value !== undefined) {
      query.set(key, value);
    }
  }
  const answer = await api.get(`${view.url}${query.size === 0 ? "" : `?${query}`}`);
  const rows = rowsOf(answer, view.key);
  if (flags.json === true) {
    out(formatJson(rows));
  } else {
    out(rows.length === 0 ? `No ${name}.` : formatTable(view.headings, rows.map(view.cells)));
  }
  const total = isJsonObject(answer) ? Number(answer["total"] ?? 0) : 0;
  if (total > rows.length) {
    note(`(${rows.length} of ${total}; --limit shows more)`);
  }
  return "ok";
}

export const RESOURCES = ["execution", "playbook", "credential", "variables"] as const;
export type ResourceName = (typeof RESOURCES)[number];

export async function get(
  context: CliContext,
  api: Api,
  name: ResourceName,
  id: string,
  flags: JsonFlag & {
    readonly version?: string | undefined;
    readonly includeData?: boolean | undefined;
  },
): Promise<ExitReason> {
  const { out } = context;
  if (name === "credential") {
    return await showCredential(context, api, id, flags);
  }
  if (name === "playbook") {
    const entry = await api.postObject("/api/catalog/resource", {
      path: id,
      version: flags.version ?? null,
    });
    out(flags.json === true ? formatJson(entry) : field(entry, "content").trimEnd());
    return "ok";
  }
  const urls = {
    execution: "/api/executions/",
    variables: "/api/vars/",
  };
  out(formatJson(await api.get(`${urls[name]}${encodeURIComponent(id)}`)));
  return "ok";
}
