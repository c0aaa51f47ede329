/** All alerts in their groups. */
import type { Alert, AlertGroup } from "./alert.ts";
import { GPU_ALERTS } from "./gpus.ts";
import { SERVER_ALERTS } from "./server.ts";
import { STORE_ALERTS } from "./stores.ts";
import { WATCH_ALERTS } from "./watch.ts";
import { WORK_ALERTS } from "./work.ts";

export const ALERT_GROUPS: readonly AlertGroup[] = [
  { name: "noetl.server", alerts: SERVER_ALERTS },
  { name: "noetl.work", alerts: WORK_ALERTS },
  { name: "noetl.gpus", alerts: GPU_ALERTS },
  { name: "noetl.stores", alerts: STORE_ALERTS },
  { name: "noetl.watch", alerts: WATCH_ALERTS },
];

export const ALERTS: readonly Alert[] = ALERT_GROUPS.flatMap((group) => group.alerts);
