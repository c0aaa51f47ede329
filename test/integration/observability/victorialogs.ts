/**
 * A stand-in for VictoriaLogs' ingestion (not to be had in tests), by its documentation: what a request to the bulk API makes of
 * its rows, and when they silently get lost.
 */
export interface StoredRow {
  /** RFC 3339. */
  readonly time: string;
  readonly message: string;
  /** `{app="…",pod="…"}`. */
  readonly stream: string;
  readonly fields: Readonly<Record<string, string>>;
}

export interface Ingested {
  readonly status: number;
  readonly rows: readonly StoredRow[];
  /** Why rows were not stored though the answer is 200, or were stored otherwise than meant. */
  readonly faults: readonly string[];
}

const PATHS = new Set(["/insert/elasticsearch/_bulk"]);
const TYPES = /^application\/(x-ndjson|stream\+json|json)(;|$)/;

export async function ingest(request: Request): Promise<Ingested> {
  const { pathname, searchParams } = new URL(request.url);
  if (request.method !== "POST" || !PATHS.has(pathname)) {
    return { status: 404, rows: [], faults: [`no such path: ${pathname}`] };
  }
  if (!TYPES.test(request.headers.get("content-type") ?? "")) {
    return { status: 200, rows: [], faults: ["nothing stored: wrong Content-Type"] };
  }
  const setting = (query: string, header: string): readonly string[] =>
    (searchParams.get(query) ?? request.headers.get(header) ?? "").split(",").filter(Boolean);
  const names = {
    time: setting("_time_field", "vl-time-field"),
    message: setting("_msg_field", "vl-msg-field"),
    stream: setting("_stream_fields", "vl-stream-fields"),
  };
  const faults: string[] = [];
  const rows: StoredRow[] = [];
  const lines = (await bodyOf(request)).split("\n").filter(Boolean);
  for (let index = 0; index + 1 < lines.length; index += 2) {
    const action = Object.keys(JSON.parse(lines[index] ?? "{}"))[0] ?? "";
    if (action !== "create" && action !== "index") {
      faults.push(`line ${index + 1} is no action`);
      continue;
    }
    rows.push(toRow(flat(JSON.parse(lines[index + 1] ?? "{}")), names, faults));
  }
  return { status: 200, rows, faults };
}

async function bodyOf(request: Request): Promise<string> {
  const bytes = new Uint8Array(await request.arrayBuffer());
  const isPacked = request.headers.get("content-encoding") === "gzip";
  return new TextDecoder().decode(isPacked ? Bun.gunzipSync(bytes) : bytes);
}

function toRow(
  fields: Record<string, string>,
  names: Readonly<Record<"time" | "message" | "stream", readonly string[]>>,
  faults: string[],
): StoredRow {
  const timeName = names.time[0] ?? "_time";
  const time = fields[timeName] ?? "";
  if (Number.isNaN(Date.parse(time))) {
    faults.push(`the time is that of arrival: ${timeName} is ${time === "" ? "missing" : time}`);
  }
  const messageName = names.message.find((name) => (fields[name] ?? "") !== "") ?? "_msg";
  const message = fields[messageName] ?? "";
  if (message === "") {
    faults.push("a row has no message");
  }
  delete fields[timeName];
  delete fields[messageName];
  const labels = names.stream.flatMap((name) => {
    const value = fields[name] ?? "";
    return value === "" ? [] : [`${name}=${JSON.stringify(value)}`];
  });
  return { time, message, stream: `{${labels.join(",")}}`, fields };
}

/** Nested objects become fields with dots; everything is text. */
function flat(value: unknown, prefix = ""): Record<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { [prefix]: typeof value === "string" ? value : JSON.stringify(value) };
  }
  const parts = Object.entries(value).map(([name, each]) =>
    flat(each, prefix === "" ? name : `${prefix}.${name}`),
  );
  return Object.assign({}, ...parts) as Record<string, string>;
}
