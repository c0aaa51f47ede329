/** The manifests of `deploy/` as `kubectl apply -k` would send them. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parseAllDocuments } from "yaml";
import { makeScratchDir } from "./scratch.ts";

export const ROOT = join(import.meta.dir, "../..");

export interface Labels {
  readonly [name: string]: string;
}

/** An object of Kubernetes; tests look into it as they like. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Labels;
    readonly annotations?: Labels;
  };
  // biome-ignore lint/suspicious/noExplicitAny: a manifest, whose fields tests name
  readonly [field: string]: any;
}

/** Why tests with `kubectl kustomize` are skipped; undefined: they run. */
export const noKustomize = whyNoKustomize();

function kubectl(): string | undefined {
  const installed = join(ROOT, ".cache/kubectl/kubectl");
  return Bun.which("kubectl") ?? (existsSync(installed) ? installed : undefined);
}

function whyNoKustomize(): string | undefined {
  const program = kubectl();
  if (program === undefined) {
    return "there is no kubectl on this machine: `.ci/setup --test` installs one";
  }
  const { stdout } = Bun.spawnSync([program, "version", "--client"], { stderr: "ignore" });
  const version = /Kustomize Version: v(\d+)/.exec(stdout.toString())?.[1];
  return Number(version) >= 5 ? undefined : "this kubectl is older than 1.27 (kustomize 5)";
}

const built = new Map<string, readonly Manifest[]>();

/**
 * All objects of a folder below `deploy/`, with components of `deploy/components` on top. Built once.
 *
 * @throws Error with what kustomize says; it also warns of old fields: that fails too.
 */
export function buildManifests(
  folder: string,
  components: readonly string[] = [],
): readonly Manifest[] {
  const key = [folder, ...components].join(" ");
  const manifests = built.get(key) ?? build(folder, components);
  built.set(key, manifests);
  return manifests;
}

function build(folder: string, components: readonly string[]): readonly Manifest[] {
  const path = join(ROOT, "deploy", folder);
  const run = Bun.spawnSync([
    ...[kubectl() ?? "kubectl", "kustomize"],
    components.length === 0 ? path : withComponents(path, components),
  ]);
  const complaints = run.stderr.toString();
  if (run.exitCode !== 0 || complaints !== "") {
    throw new Error(`kubectl kustomize ${folder}: ${complaints}`);
  }
  return readYaml(run.stdout.toString());
}

/** As an overlay that has them in its list. */
function withComponents(path: string, components: readonly string[]): string {
  const dir = join(makeScratchDir("kustomize"), "overlay");
  mkdirSync(dir);
  const here = (name: string): string => relative(dir, join(ROOT, "deploy/components", name));
  const overlay = {
    apiVersion: "kustomize.config.k8s.io/v1beta1",
    kind: "Kustomization",
    resources: [relative(dir, path)],
    components: components.map(here),
  };
  writeFileSync(join(dir, "kustomization.yaml"), JSON.stringify(overlay));
  return dir;
}

/** The documents of a text in YAML, none of them empty. */
export function readYaml(text: string): readonly Manifest[] {
  return parseAllDocuments(text, { merge: true }).flatMap((document) => {
    if (document.errors[0] !== undefined) {
      throw document.errors[0];
    }
    const value: Manifest | null = document.toJS();
    return value === null ? [] : [value];
  });
}

/** `Deployment noetl-platform/noetl-server`. */
export function titleOf({ kind, metadata: { namespace, name } }: Manifest): string {
  return `${kind} ${namespace === undefined ? "" : `${namespace}/`}${name}`;
}

const WORKLOADS = ["Deployment", "StatefulSet", "DaemonSet"];

export function workloadsOf(manifests: readonly Manifest[]): readonly Manifest[] {
  return manifests.filter(({ kind }) => WORKLOADS.includes(kind));
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  // biome-ignore lint/suspicious/noExplicitAny: a part of a manifest, whose fields tests name
  readonly [field: string]: any;
}

export function containersOf({ spec }: Manifest): readonly Container[] {
  const { containers, initContainers = [] } = spec.template.spec;
  return [...initContainers, ...containers];
}

/** Finds one object, or fails by saying which there are. */
export function find(manifests: readonly Manifest[], kind: string, name: string): Manifest {
  const found = manifests.filter(
    (one) => one.kind === kind && (one.metadata.name === name || withoutHash(one) === name),
  );
  if (found.length !== 1 || found[0] === undefined) {
    throw new Error(
      `${found.length} of ${kind} ${name} among ${manifests.map(titleOf).join(", ")}`,
    );
  }
  return found[0];
}

/** Generators add a hash to the name. */
export function withoutHash({ metadata: { name } }: Manifest): string {
  return name.replace(/-[a-z0-9]{10}$/, "");
}

/** What a container's process finds in its environment; the fields that a node fills in are made up. */
export function environmentOf(
  manifests: readonly Manifest[],
  workload: Manifest,
  container: Container,
): Record<string, string> {
  const labels: Labels = workload["spec"].template.metadata.labels;
  const read = (kind: string, name: string): Record<string, string> => {
    const one = manifests.find(
      (each) =>
        each.kind === kind &&
        each.metadata.name === name &&
        each.metadata.namespace === workload.metadata.namespace,
    );
    if (one === undefined) {
      throw new Error(`${titleOf(workload)} names ${kind} ${name}, which is not there`);
    }
    const decode = kind === "Secret" ? fromBase64 : (text: string) => text;
    const entries = Object.entries<string>(one["data"] ?? {});
    return Object.fromEntries(entries.map(([key, value]) => [key, decode(value)]));
  };
  const environment: Record<string, string> = {};
  for (const { configMapRef, secretRef } of container["envFrom"] ?? []) {
    Object.assign(
      environment,
      configMapRef === undefined ? {} : read("ConfigMap", configMapRef.name),
      secretRef === undefined ? {} : read("Secret", secretRef.name),
    );
  }
  for (const { name, value, valueFrom } of container["env"] ?? []) {
    environment[name] = value ?? fromSource(valueFrom, labels, read);
  }
  return environment;
}

function fromSource(
  // biome-ignore lint/suspicious/noExplicitAny: a part of a manifest
  { fieldRef, secretKeyRef, configMapKeyRef }: any,
  labels: Labels,
  read: (kind: string, name: string) => Record<string, string>,
): string {
  if (fieldRef !== undefined) {
    const label = /^metadata\.labels\['(.+)'\]$/.exec(fieldRef.fieldPath)?.[1];
    return label === undefined ? "given-by-the-node" : (labels[label] ?? "");
  }
  const [kind, { name, key }] =
    secretKeyRef === undefined ? ["ConfigMap", configMapKeyRef] : ["Secret", secretKeyRef];
  const value = read(kind, name)[key];
  if (value === undefined) {
    throw new Error(`${kind} ${name} has no ${key}`);
  }
  return value;
}

function fromBase64(text: string): string {
  return Buffer.from(text, "base64").toString();
}
