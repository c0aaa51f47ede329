/** Which playbook a trigger starts, and how: shared by schedules and subscriptions. */
import type { Fields } from "./report.ts";

export interface TriggerTarget {
  /** Catalog path. */
  readonly playbook: string;
  /** Absent: the latest. */
  readonly version?: number;
  /** For tasks that name no pool. */
  readonly pool?: string;
  /** 0 (last) to 9 (first). */
  readonly priority?: number;
}

export const TARGET_KEYS: readonly string[] = [
  "playbook",
  "path",
  "version",
  "pool",
  "execution_pool",
  "priority",
];
const PRIORITY_MAX = 9;

/** Reports PLAYBOOK_MISSING, VERSION_INVALID, PRIORITY_INVALID. */
export function readTarget(fields: Fields): TriggerTarget {
  const playbook = fields.text("playbook") ?? fields.text("path") ?? "";
  if (playbook.trim() === "") {
    fields.error("PLAYBOOK_MISSING", "playbook", 'name the "playbook" to start, by its path');
  }
  const version = readVersion(fields);
  const pool = fields.text("execution_pool") ?? fields.text("pool");
  const priority = fields.integer("priority", 0);
  if (priority !== undefined && priority > PRIORITY_MAX) {
    fields.error("PRIORITY_INVALID", "priority", `priority is 0 (last) to ${PRIORITY_MAX} (first)`);
  }
  return {
    playbook,
    ...(version === undefined ? {} : { version }),
    ...(pool === undefined ? {} : { pool }),
    ...(priority === undefined ? {} : { priority }),
  };
}

function readVersion(fields: Fields): number | undefined {
  const value = fields.get("version");
  if (value === undefined || value === "latest") {
    return undefined;
  }
  const version = Number(value);
  if (Number.isSafeInteger(version) && version > 0) {
    return version;
  }
  fields.error("VERSION_INVALID", "version", 'version must be a positive number or "latest"');
  return undefined;
}
