/** All dashboards. */
import { EXECUTIONS_DASHBOARD } from "./executions.ts";
import { GPUS_DASHBOARD } from "./gpus.ts";
import { PLATFORM_DASHBOARD } from "./platform.ts";
import { SERVER_DASHBOARD } from "./server.ts";
import { WORKERS_DASHBOARD } from "./workers.ts";

export const ALL_DASHBOARDS = [
  SERVER_DASHBOARD,
  WORKERS_DASHBOARD,
  GPUS_DASHBOARD,
  EXECUTIONS_DASHBOARD,
  PLATFORM_DASHBOARD,
];
