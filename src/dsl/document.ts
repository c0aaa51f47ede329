/** What the readers of all kinds of documents share: text in, header checked, diagnostics out. */
import { isJsonObject } from "../core/json.ts";
import { toText } from "../template/value.ts";
import type { Diagnostic } from "./diagnostic.ts";
import { Fields, Report } from "./report.ts";
import { readYaml } from "./yaml.ts";

export interface DocumentResult<T> {
  /** Absent when there are errors. */
  readonly document?: T;
  /** In the order of the document. */
  readonly diagnostics: readonly Diagnostic[];
}

export interface Header {
  /** Catalog path. */
  readonly path: string;
  readonly name: string;
  readonly description?: string;
  readonly labels: Readonly<Record<string, string>>;
}

const ROOT_KEYS = ["apiVersion", "kind", "metadata", "spec"];
const METADATA_KEYS = ["name", "path", "description", "labels", "version"];
const API_VERSIONS = ["noetl.io/v1", "noetl.io/v2", "noetl.io/v10"];
/** Only what mentions one of these kinds is worth reading twice. */
const OTHER_KINDS = /\bkind["']?\s*:\s*["']?(Schedule|Subscription)\b/;

/** The kind of a document that is not a playbook; undefined for anything else. Never throws. */
export function otherKind(text: string): "Schedule" | "Subscription" | undefined {
  if (!OTHER_KINDS.test(text)) {
    return undefined;
  }
  const { value } = readYaml(text);
  const kind = isJsonObject(value) ? value["kind"] : undefined;
  return kind === "Schedule" || kind === "Subscription" ? kind : undefined;
}

/** Reads `metadata` and hands `spec` to `read`. Never throws on any text. */
export function readDocument<T>(
  text: string,
  read: (spec: Fields, header: Header) => T,
): DocumentResult<T> {
  const source = readYaml(text);
  const report = new Report(source);
  if (!isJsonObject(source.value)) {
    if (source.value !== undefined) {
      report.error(
        "DOCUMENT_INVALID",
        "",
        "a document is a map with apiVersion, kind, metadata, spec",
      );
    }
    return { diagnostics: report.sorted() };
  }
  const root = new Fields(report, source.value, "");
  const header = readHeader(root);
  if (!root.has("spec")) {
    root.error("SPEC_MISSING", "spec", 'the document has no "spec"');
  }
  const document = read(root.fields("spec"), header);
  const diagnostics = report.sorted();
  return report.hasErrors ? { diagnostics } : { document, diagnostics };
}

function readHeader(root: Fields): Header {
  root.checkKeys(ROOT_KEYS);
  const version = root.text("apiVersion");
  if (version === undefined || !API_VERSIONS.includes(version)) {
    const message = `apiVersion must be one of ${API_VERSIONS.join(", ")}`;
    root.error("API_VERSION_UNKNOWN", "apiVersion", message);
  }
  const metadata = root.fields("metadata");
  metadata.checkKeys(METADATA_KEYS);
  const path = metadata.text("path") ?? metadata.text("name") ?? "";
  if (path.trim() === "") {
    root.error("METADATA_INVALID", "metadata", 'metadata needs a "path" or a "name"');
  }
  const description = metadata.text("description");
  const labels = Object.entries(metadata.fields("labels").map);
  return {
    path,
    name: metadata.text("name") ?? path,
    labels: Object.fromEntries(labels.map(([key, value]) => [key, toText(value)] as const)),
    ...(description === undefined ? {} : { description }),
  };
}
