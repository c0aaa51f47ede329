/** Parses a row's sample as what it is, and watches which keys the parser knows on the way. */
import { stringify } from "yaml";
import type { Diagnostic } from "../../../../src/dsl/diagnostic.ts";
import { parsePlaybook } from "../../../../src/dsl/parse.ts";
import { Fields } from "../../../../src/dsl/report.ts";
import { parseSchedule } from "../../../../src/dsl/schedule.ts";
import { parseSubscription } from "../../../../src/dsl/subscription.ts";
import { KNOWN_TOOL_KINDS } from "../../../../src/tools/registry.ts";
import type { Row } from "./row.ts";
import { documentOf } from "./row.ts";

/** What `checkKeys` was told about a map: its keys that mean something, and those without effect. */
export interface KnownKeys {
  readonly path: string;
  readonly kind: string | undefined;
  readonly keys: readonly string[];
}

export function diagnosticsOf(row: Row): readonly Diagnostic[] {
  const text = stringify(documentOf(row));
  switch (row.block.split(/[ .]/)[0]) {
    case "subscription":
      return parseSubscription(text).diagnostics;
    case "schedule":
      return parseSchedule(text, { checkCron: () => undefined }).diagnostics;
    default:
      return parsePlaybook(text, { knownTools: KNOWN_TOOL_KINDS }).diagnostics;
  }
}

/** All keys that the parser says it knows while it reads the samples. */
export function watchKeys(rows: readonly Row[]): readonly KnownKeys[] {
  const seen: KnownKeys[] = [];
  const original = Fields.prototype.checkKeys;
  Fields.prototype.checkKeys = function watched(this: Fields, known, ignored = []) {
    const kind = this.get("kind");
    const name = typeof kind === "string" ? kind : undefined;
    seen.push({ path: this.path, kind: name, keys: [...known, ...ignored] });
    original.call(this, known, ignored);
  };
  try {
    for (const row of rows) {
      diagnosticsOf(row);
    }
  } finally {
    Fields.prototype.checkKeys = original;
  }
  return seen;
}
