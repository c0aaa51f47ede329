import init from "./migrations/0001_init.sql" with { type: "text" };
import results from "./migrations/0002_results.sql" with { type: "text" };
import admission from "./migrations/0003_admission.sql" with { type: "text" };
import triggers from "./migrations/0004_triggers.sql" with { type: "text" };
import secrets from "./migrations/0005_secrets.sql" with { type: "text" };
import operate from "./migrations/0006_operate.sql" with { type: "text" };
import operateApi from "./migrations/0008_operate_api.sql" with { type: "text" };
import gpus from "./migrations/0009_gpus.sql" with { type: "text" };
import platform from "./migrations/0010_platform.sql" with { type: "text" };
import upkeep from "./migrations/0011_upkeep.sql" with { type: "text" };
import traces from "./migrations/0012_traces.sql" with { type: "text" };

export interface Migration {
  /** Position in the history, from 1. Never reused, never reordered. */
  readonly version: number;
  readonly name: string;
  readonly text: string;
}

/** Every migration, oldest first. Import attributes put the text in the compiled binary. */
export const MIGRATIONS: readonly Migration[] = [
  { version: 1, name: "init", text: init },
  { version: 2, name: "results", text: results },
  { version: 3, name: "admission", text: admission },
  { version: 4, name: "triggers", text: triggers },
  { version: 5, name: "secrets", text: secrets },
  { version: 6, name: "operate", text: operate },
  { version: 8, name: "operate_api", text: operateApi },
  { version: 9, name: "gpus", text: gpus },
  { version: 10, name: "platform", text: platform },
  { version: 11, name: "upkeep", text: upkeep },
  { version: 12, name: "traces", text: traces },
];
