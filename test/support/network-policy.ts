/** Who may reach whom by NetworkPolicies, as a cluster's network decides it, for pods of `deploy/`. */
import type { Labels, Manifest } from "./manifests.ts";

/** A pod, or somebody outside the cluster: no labels, no namespace. */
export interface Peer {
  readonly namespace: string;
  readonly labels: Labels;
  /** For policies that name ports by name. */
  readonly ports?: Readonly<Record<string, number>>;
}

export const OUTSIDE: Peer = { namespace: "", labels: {} };

// biome-ignore lint/suspicious/noExplicitAny: parts of manifests
type Part = any;

/** True if a TCP connection is let out at one end and in at the other. */
export function mayConnect(
  manifests: readonly Manifest[],
  from: Peer,
  to: Peer,
  port: number,
): boolean {
  const policies = manifests.filter(({ kind }) => kind === "NetworkPolicy");
  const link = { port, target: to };
  return (
    isOpen(policies, "Egress", { pod: from, other: to, ...link }) &&
    isOpen(policies, "Ingress", { pod: to, other: from, ...link })
  );
}

interface Link {
  readonly pod: Peer;
  readonly other: Peer;
  readonly port: number;
  readonly target: Peer;
}

function isOpen(policies: readonly Manifest[], direction: "Ingress" | "Egress", link: Link) {
  const { pod, other } = link;
  const applying = policies.filter(
    ({ metadata, ["spec"]: spec }) =>
      pod !== OUTSIDE &&
      metadata.namespace === pod.namespace &&
      spec.policyTypes.includes(direction) &&
      matches(spec.podSelector, pod.labels),
  );
  const rules: readonly Part[] = applying.flatMap(
    ({ ["spec"]: spec }) => spec[direction.toLowerCase()] ?? [],
  );
  return (
    applying.length === 0 ||
    rules.some(({ ports, from, to }) => {
      const peers: readonly Part[] | undefined = direction === "Ingress" ? from : to;
      const isPort = ports === undefined || ports.some((one: Part) => isSamePort(one.port, link));
      const [{ metadata }] = applying as [Manifest];
      return (
        isPort &&
        (peers === undefined || peers.some((peer) => isPeer(peer, other, metadata.namespace ?? "")))
      );
    })
  );
}

function isSamePort(named: number | string, { port, target }: Link): boolean {
  return (typeof named === "number" ? named : target.ports?.[named]) === port;
}

/** Addresses: whatever is not in this cluster. Pods have addresses too, but no rule here relies on them. */
function isPeer({ ipBlock, namespaceSelector, podSelector }: Part, other: Peer, home: string) {
  if (ipBlock !== undefined) {
    return other === OUTSIDE;
  }
  const namespaceLabels = { "kubernetes.io/metadata.name": other.namespace };
  const isNamespace =
    namespaceSelector === undefined
      ? other.namespace === home
      : matches(namespaceSelector, namespaceLabels);
  return isNamespace && other !== OUTSIDE && matches(podSelector ?? {}, other.labels);
}

/** Only what is used here: equality and `In`. */
export function matches({ matchLabels = {}, matchExpressions = [] }: Part, labels: Labels) {
  return (
    Object.entries(matchLabels).every(([name, value]) => labels[name] === value) &&
    matchExpressions.every(
      ({ key, operator, values }: Part) => operator === "In" && values.includes(labels[key]),
    )
  );
}
