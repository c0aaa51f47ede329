/** The Kubernetes cluster that a worker was told of, or is in. */
import type { Values } from "../config/option.ts";
import type { Environment } from "../config/read.ts";
import type { clusterOptions } from "../config/tables.ts";
import type { ClusterOptions } from "../containers/kubernetes/access.ts";

/** Pods are told where their cluster's API is. */
export function clusterOf(values: Values<typeof clusterOptions>, env: Environment): ClusterOptions {
  const host = env["KUBERNETES_SERVICE_HOST"];
  const port = env["KUBERNETES_SERVICE_PORT"];
  return {
    accountDir: values.kubernetesDir,
    ...(host === undefined || host === "" ? {} : { serviceHost: host }),
    ...(port === undefined || port === "" ? {} : { servicePort: port }),
    ...(values.kubeconfig === undefined ? {} : { kubeconfig: values.kubeconfig }),
    ...(values.kubeContext === undefined ? {} : { context: values.kubeContext }),
    ...(values.kubernetesNamespace === undefined ? {} : { namespace: values.kubernetesNamespace }),
  };
}
