/**
 * The fields of the operators' objects that `deploy/components` uses, from their documentation (VictoriaMetrics
 * operator v1beta1, Prometheus operator v1, KEDA 2.15, External Secrets v1): an unknown one is an error, as it is
 * for an API server that knows their definitions.
 */
type Shape = "string" | "number" | "boolean" | readonly [Shape] | Fields;

/** A name that ends with `!` is required; `*` stands for any name. */
interface Fields {
  readonly [field: string]: Shape;
}

const LABELS: Fields = { "*": "string" };

const METADATA: Fields = {
  "name!": "string",
  namespace: "string",
  labels: LABELS,
  annotations: LABELS,
};

const SELECTOR: Fields = {
  matchLabels: LABELS,
  matchExpressions: [{ "key!": "string", "operator!": "string", values: ["string"] }],
};

const RELABELING: Fields = {
  action: "string",
  modulus: "number",
  regex: "string",
  replacement: "string",
  separator: "string",
  sourceLabels: ["string"],
  targetLabel: "string",
};

const ENDPOINT: Fields = {
  "port!": "string",
  path: "string",
  scheme: "string",
  interval: "string",
  scrapeTimeout: "string",
  honorLabels: "boolean",
  honorTimestamps: "boolean",
  filterRunning: "boolean",
};

const POD_SCRAPE: Fields = {
  jobLabel: "string",
  podTargetLabels: ["string"],
  "selector!": SELECTOR,
  namespaceSelector: { any: "boolean", matchNames: ["string"] },
  sampleLimit: "number",
};

const SCALED_OBJECT: Fields = {
  "scaleTargetRef!": { "name!": "string", kind: "string", apiVersion: "string" },
  pollingInterval: "number",
  cooldownPeriod: "number",
  initialCooldownPeriod: "number",
  idleReplicaCount: "number",
  minReplicaCount: "number",
  maxReplicaCount: "number",
  fallback: { failureThreshold: "number", replicas: "number" },
  advanced: {
    restoreToOriginalReplicaCount: "boolean",
    horizontalPodAutoscalerConfig: {
      name: "string",
      behavior: { scaleDown: scalingRules(), scaleUp: scalingRules() },
    },
  },
  "triggers!": [{ "type!": "string", name: "string", "metadata!": LABELS, metricType: "string" }],
};

const EXTERNAL_SECRET: Fields = {
  refreshInterval: "string",
  "secretStoreRef!": { "name!": "string", kind: "string" },
  target: { name: "string", creationPolicy: "string", deletionPolicy: "string" },
  data: [{ "secretKey!": "string", "remoteRef!": { "key!": "string", property: "string" } }],
};

const SPECS: Readonly<Record<string, Fields>> = {
  "operator.victoriametrics.com/v1beta1 VMPodScrape": {
    ...POD_SCRAPE,
    seriesLimit: "number",
    "podMetricsEndpoints!": [
      {
        ...ENDPOINT,
        attach_metadata: { node: "boolean", namespace: "boolean" },
        relabelConfigs: [RELABELING],
        metricRelabelConfigs: [RELABELING],
      },
    ],
  },
  "monitoring.coreos.com/v1 PodMonitor": {
    ...POD_SCRAPE,
    "podMetricsEndpoints!": [
      { ...ENDPOINT, relabelings: [RELABELING], metricRelabelings: [RELABELING] },
    ],
  },
  "keda.sh/v1alpha1 ScaledObject": SCALED_OBJECT,
  "external-secrets.io/v1 ExternalSecret": EXTERNAL_SECRET,
};

/** By type of trigger: what its metadata must and may have; all of it text. */
const TRIGGERS: Readonly<Record<string, Fields>> = {
  "nats-jetstream": {
    "natsServerMonitoringEndpoint!": "string",
    "account!": "string",
    "stream!": "string",
    "consumer!": "string",
    lagThreshold: "string",
    activationLagThreshold: "string",
    useHttps: "string",
  },
  prometheus: {
    "serverAddress!": "string",
    "query!": "string",
    "threshold!": "string",
    activationThreshold: "string",
  },
};

export interface CustomResource {
  readonly apiVersion: string;
  readonly kind: string;
  // biome-ignore lint/suspicious/noExplicitAny: a manifest, whose fields the schema names
  readonly [field: string]: any;
}

/** Undefined for an object whose definition is not here. */
export function customResourceProblems(resource: CustomResource): readonly string[] | undefined {
  const spec = SPECS[`${resource.apiVersion} ${resource.kind}`];
  if (spec === undefined) {
    return undefined;
  }
  const whole = { "apiVersion!": "string", "kind!": "string", "metadata!": METADATA } as const;
  const triggers: readonly { type: string; metadata: unknown }[] = resource["spec"].triggers ?? [];
  return [
    ...problems({ ...whole, "spec!": spec }, resource, ""),
    ...triggers.flatMap(({ type, metadata }) =>
      problems(TRIGGERS[type] ?? {}, metadata, `${type} trigger`),
    ),
  ];
}

function scalingRules(): Fields {
  return {
    stabilizationWindowSeconds: "number",
    selectPolicy: "string",
    policies: [{ "type!": "string", "value!": "number", "periodSeconds!": "number" }],
  };
}

function problems(shape: Shape, value: unknown, path: string): readonly string[] {
  if (typeof shape === "string") {
    return typeof value === shape ? [] : [`${path}: must be a ${shape}, is ${typeof value}`];
  }
  if (isList(shape)) {
    return Array.isArray(value)
      ? value.flatMap((item, index) => problems(shape[0], item, `${path}[${index}]`))
      : [`${path}: must be a list`];
  }
  return isRecord(value) ? fieldProblems(shape, value, path) : [`${path}: must be a map`];
}

function fieldProblems(
  fields: Fields,
  value: Readonly<Record<string, unknown>>,
  path: string,
): readonly string[] {
  const missing = Object.keys(fields).filter(
    (name) => name.endsWith("!") && value[name.slice(0, -1)] === undefined,
  );
  return [
    ...missing.map((name) => `${path}.${name.slice(0, -1)}: is required`),
    ...Object.entries(value).flatMap(([name, item]) => {
      const shape = fields[name] ?? fields[`${name}!`] ?? fields["*"];
      return shape === undefined
        ? [`${path}.${name}: unknown field`]
        : problems(shape, item, `${path}.${name}`);
    }),
  ];
}

function isList(shape: Shape): shape is readonly [Shape] {
  return Array.isArray(shape);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
