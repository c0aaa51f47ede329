/** What is made from this folder, by path below the repository. */
import { stringify } from "yaml";
import { ALERT_GROUPS } from "./alerts/all.ts";
import { contactPoints, grafanaRules, policies } from "./alerts/grafana.ts";
import { vmalertRules } from "./alerts/vmalert.ts";
import { ALL_DASHBOARDS } from "./dashboards/all.ts";
import { DATASOURCES, FOLDER, PLUGINS, RUNBOOKS } from "./names.ts";

export interface FileOptions {
  /** Address or folder of the pages of the alerts. */
  readonly runbooks?: string;
}

/** Text of each file. */
export function makeFiles({ runbooks = RUNBOOKS }: FileOptions = {}): ReadonlyMap<string, string> {
  const dashboards = ALL_DASHBOARDS.map(
    (one) => [`grafana/dashboards/${one.uid}.json`, `${JSON.stringify(one, null, 1)}\n`] as const,
  );
  const provisioning = "grafana/provisioning";
  return new Map([
    ["deploy/vmalert/noetl.yaml", vmalertRules(ALERT_GROUPS, { runbooks })],
    [`${provisioning}/alerting/rules.yaml`, grafanaRules(ALERT_GROUPS, runbooks)],
    [`${provisioning}/alerting/contact-points.yaml`, contactPoints()],
    [`${provisioning}/alerting/policies.yaml`, policies()],
    [`${provisioning}/datasources/noetl.yaml`, datasources()],
    [`${provisioning}/dashboards/noetl.yaml`, dashboardProvider()],
    ...dashboards,
  ]);
}

const HEADER = "# Made from grafana/source/files.ts by `bun run grafana`.\n";

/** Dollars that Grafana is not to take for its environment's variables are doubled. */
function datasources(): string {
  const document = {
    apiVersion: 1,
    datasources: [
      {
        name: "VictoriaMetrics",
        uid: DATASOURCES.metrics,
        type: PLUGINS.metrics,
        access: "proxy",
        url: "http://victoriametrics:8428",
        isDefault: true,
        jsonData: { httpMethod: "POST", timeInterval: "15s" },
      },
      {
        name: "VictoriaLogs",
        uid: DATASOURCES.logs,
        type: PLUGINS.logs,
        access: "proxy",
        url: "http://victorialogs:9428",
        jsonData: {
          maxLines: 1000,
          // A click on a line's execution opens it in noetl's own page.
          derivedFields: [
            {
              name: "Execution",
              matcherType: "label",
              matcherRegex: "execution_id",
              url: "${NOETL_PAGE_URL}/#/e/$${__value.raw}",
              urlDisplayLabel: "Show in noetl",
            },
          ],
        },
      },
      {
        // The same VictoriaMetrics by Grafana's built-in plugin, for a Grafana that can install none.
        name: "Prometheus (VictoriaMetrics)",
        uid: DATASOURCES.fallback,
        type: PLUGINS.fallback,
        access: "proxy",
        url: "http://victoriametrics:8428",
        jsonData: { httpMethod: "POST", timeInterval: "15s", prometheusType: "Prometheus" },
      },
    ],
  };
  return HEADER + stringify(document, { lineWidth: 0 });
}

function dashboardProvider(): string {
  const document = {
    apiVersion: 1,
    providers: [
      {
        name: "noetl",
        orgId: 1,
        folder: FOLDER,
        folderUid: "noetl",
        type: "file",
        disableDeletion: true,
        allowUiUpdates: false,
        updateIntervalSeconds: 30,
        options: { path: "/var/lib/grafana/dashboards/noetl", foldersFromFilesStructure: false },
      },
    ],
  };
  return HEADER + stringify(document, { lineWidth: 0 });
}
