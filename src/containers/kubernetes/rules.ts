/** What a worker may do in its namespace; README.md has it as a Role. */
import type { ApiRequest, KubernetesApi } from "./api.ts";

export interface Rule {
  readonly group: ApiRequest["group"];
  readonly resource: string;
  readonly verbs: readonly string[];
  /** Without it, only less is said of what a Job waits for. */
  readonly isOptional?: boolean;
}

export const RULES: readonly Rule[] = [
  {
    group: "batch",
    resource: "jobs",
    verbs: ["get", "list", "watch", "create", "patch", "delete"],
  },
  { group: "", resource: "pods", verbs: ["get", "list", "watch", "delete"] },
  { group: "", resource: "pods/log", verbs: ["get"] },
  { group: "", resource: "secrets", verbs: ["create", "delete"] },
  { group: "", resource: "events", verbs: ["list"], isOptional: true },
];

/** Of the rules that are needed, what the cluster refuses: `create jobs`. Empty where it does not say. */
export async function missingRights(
  api: KubernetesApi,
  namespace: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const needed = RULES.filter(({ isOptional }) => isOptional !== true).flatMap((rule) =>
    rule.verbs.map((verb) => ({ ...rule, verb })),
  );
  const answers = await Promise.all(
    needed.map(async ({ group, resource, verb }) => {
      const isAllowed = await mayDo(api, { group, resource, verb, namespace }, signal);
      return isAllowed ? [] : [`${verb} ${resource}`];
    }),
  );
  return answers.flat();
}

interface Right {
  readonly group: string;
  readonly resource: string;
  readonly verb: string;
  readonly namespace: string;
}

async function mayDo(
  api: KubernetesApi,
  { group, resource, verb, namespace }: Right,
  signal: AbortSignal,
): Promise<boolean> {
  const [plural, subresource] = resource.split("/");
  const attributes = { group, resource: plural, verb, namespace };
  const answer = await api.once(
    {
      verb: "create",
      group: "authorization.k8s.io",
      resource: "selfsubjectaccessreviews",
      body: {
        apiVersion: "authorization.k8s.io/v1",
        kind: "SelfSubjectAccessReview",
        spec: {
          resourceAttributes:
            subresource === undefined ? attributes : { ...attributes, subresource },
        },
      },
    },
    signal,
  );
  const { status } = answer as { readonly status?: { readonly allowed?: boolean } };
  return status?.allowed === true;
}
