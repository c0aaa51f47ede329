/**
 * A container task as its fields say it, checked. Pure, so that a document is refused when it is registered and
 * a rendered task before it runs, both by the same sentences.
 */
import type {
  ClusterFields,
  ContainerMount,
  PullOptions,
  RuntimeName,
} from "../../containers/runtime.ts";
import { RUNTIME_NAMES } from "../../containers/runtime.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { TaskFile } from "./files.ts";
import { readFiles } from "./files.ts";
import { clusterMounts, readMounts } from "./mounts.ts";
import { flagOf, isGiven, Problems, textMapOf, textOf, textsOf } from "./reading.ts";
import type { TaskResources, TaskTimeouts } from "./resources.ts";
import { readResources, readTimeouts } from "./resources.ts";
import type { Variable } from "./variables.ts";
import { readVariables } from "./variables.ts";
import { commandLine, splitWords } from "./words.ts";

export interface ContainerPlan {
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly variables: readonly Variable[];
  readonly files: readonly TaskFile[];
  readonly workdir?: string;
  readonly user?: string;
  /** `default`: the runtime's own. */
  readonly network: string;
  readonly mounts: readonly ContainerMount[];
  readonly resources: TaskResources;
  readonly timeouts: TaskTimeouts;
  readonly pullPolicy: PullOptions["policy"];
  readonly registry?: Json;
  readonly runtime?: RuntimeName;
  readonly isRootWritable: boolean;
  readonly capabilities: readonly string[];
  readonly mayGainPrivileges: boolean;
  readonly cluster: ClusterFields;
  /** Fields that only a cluster heeds, as far as the task has them. */
  readonly clusterFields: readonly string[];
  /** What only a cluster can do, in words. */
  readonly clusterNeeds: readonly string[];
}

/** What `image` may hold: a reference, no option. */
const IMAGE = /^[A-Za-z0-9][A-Za-z0-9._/:@-]*$/;
const NETWORK = /^[A-Za-z0-9][\w.:/-]*$/;
const USER = /^[\w][\w.-]*(?::[\w][\w.-]*)?$/;
const CLUSTER_NAME = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;
const CAPABILITY = /^[A-Z][A-Z_]+$/;
/** They would take all isolation away. */
const CAPABILITIES_REFUSED = new Set(["ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO"]);
const POLICIES: Readonly<Record<string, PullOptions["policy"]>> = {
  always: "always",
  missing: "missing",
  ifnotpresent: "missing",
  if_not_present: "missing",
  never: "never",
};
const CLUSTER_FIELDS = [
  "namespace",
  "service_account",
  "node_selector",
  "tolerations",
  "runtime_class",
  "backoff_limit",
  "restart_policy",
];
const TOLERATION_KEYS = ["key", "operator", "value", "effect", "toleration_seconds"];

export interface PlanReading {
  readonly plan: ContainerPlan;
  /** Sentences; with any of them the plan is not to be used. */
  readonly problems: readonly string[];
}

/** @param config a task's own fields, without templates. */
export function readPlan(config: JsonObject): PlanReading {
  const problems = new Problems();
  const text = (name: string, pattern: RegExp, wanted: string): string | undefined => {
    const take = (value: Json) => [textOf(value)].find((found) => pattern.test(found ?? ""));
    return problems.read(name, config[name], take, wanted);
  };
  const flag = (name: string): boolean | undefined =>
    problems.read(name, config[name], flagOf, "true or false");
  const mounts = readMounts(config, problems);
  const workdir = text("workdir", /^\/[^\0]*$/, "an absolute path in the container");
  const user = text("user", USER, "uid, uid:gid or a name of the image");
  const runtime = readRuntime(config, problems);
  if (flag("privileged") === true) {
    const reason = "is refused: such a container could take over the machine and all its GPUs";
    problems.add(
      "privileged",
      `${reason}. GPUs need no privileges; ask for \`capabilities\` by name`,
    );
  }
  const plan = {
    image: text("image", IMAGE, "the name of an image, such as python:3.13-slim") ?? "",
    ...readCommand(config, problems),
    variables: readVariables(config, problems),
    files: readFiles(config, problems),
    network: text("network", NETWORK, "none, host, default or the name of a network") ?? "default",
    mounts,
    resources: readResources(config, problems),
    timeouts: readTimeouts(config, problems),
    pullPolicy: readPolicy(config, problems),
    isRootWritable: !(flag("read_only") ?? true),
    capabilities: readCapabilities(config, problems),
    mayGainPrivileges: !(flag("no_new_privileges") ?? true),
    cluster: readCluster(config, problems),
    clusterFields: CLUSTER_FIELDS.filter((name) => isGiven(config[name])),
    clusterNeeds: clusterMounts(mounts),
    ...(workdir === undefined ? {} : { workdir }),
    ...(user === undefined ? {} : { user }),
    ...(runtime === undefined ? {} : { runtime }),
    ...(isGiven(config["registry"]) ? { registry: config["registry"] } : {}),
  };
  if (runtime !== undefined && runtime !== "kubernetes") {
    for (const need of plan.clusterNeeds) {
      problems.add("volumes", localRefusal(need, runtime));
    }
  }
  return { plan, problems: problems.messages };
}

export function localRefusal(need: string, runtime: RuntimeName): string {
  return `has ${need}, which exists on Kubernetes only: with ${runtime} use mounts or files`;
}

function readRuntime(config: JsonObject, problems: Problems): RuntimeName | undefined {
  const wanted = `one of ${RUNTIME_NAMES.join(", ")}`;
  const take = (value: Json) => RUNTIME_NAMES.find((name) => name === value);
  return config["runtime"] === "auto"
    ? undefined
    : problems.read("runtime", config["runtime"], take, wanted);
}

function readPolicy(config: JsonObject, problems: Problems): PullOptions["policy"] {
  const take = (value: Json) => POLICIES[String(value).toLowerCase()];
  const wanted = "always, missing or never";
  return problems.read("pull_policy", config["pull_policy"], take, wanted) ?? "missing";
}

/** A list is taken word by word; a text as a shell would read it. */
function readCommand(
  config: JsonObject,
  problems: Problems,
): Pick<ContainerPlan, "command" | "args"> {
  const args = readWords(config, "args", problems);
  const { command } = config;
  if (typeof command === "string" && command.trim() !== "") {
    return { command: commandLine(command, args ?? []) };
  }
  const words = readWords(config, "command", problems);
  return {
    ...(words === undefined || words.length === 0 ? {} : { command: words }),
    ...(args === undefined || args.length === 0 ? {} : { args }),
  };
}

function readWords(
  config: JsonObject,
  name: string,
  problems: Problems,
): readonly string[] | undefined {
  const take = (value: Json) => (typeof value === "string" ? splitWords(value) : textsOf(value));
  return problems.read(name, config[name], take, "a list of texts, or a text without open quotes");
}

function readCapabilities(config: JsonObject, problems: Problems): readonly string[] {
  const wanted = "a list of capabilities such as NET_BIND_SERVICE";
  const names = problems.read("capabilities", config["capabilities"], textsOf, wanted) ?? [];
  const plain = names.map((name) => name.trim().toUpperCase().replace(/^CAP_/, ""));
  for (const name of plain) {
    if (CAPABILITIES_REFUSED.has(name)) {
      problems.add("capabilities", `has ${name}, which is refused: it gives the machine away`);
    } else if (!CAPABILITY.test(name)) {
      problems.add("capabilities", `has ${JSON.stringify(name)}, which is no capability`);
    }
  }
  return [...new Set(plain)];
}

/** What the public project writes for Kubernetes. */
function readCluster(config: JsonObject, problems: Problems): ClusterFields {
  const name = (field: string): string | undefined =>
    problems.read(
      field,
      config[field],
      (value) => [textOf(value)].find((each) => CLUSTER_NAME.test(each ?? "")),
      "a name of Kubernetes: small letters, digits, - and .",
    );
  const restart = problems.read("restart_policy", config["restart_policy"], textOf, "Never");
  if (restart !== undefined && restart.toLowerCase() !== "never") {
    problems.add("restart_policy", "must be Never: failed tries are repeated by the task's policy");
  }
  const selector = "a map of labels";
  const found: ClusterFields = {
    ...only("namespace", name("namespace")),
    ...only("serviceAccount", name("service_account")),
    ...only("runtimeClass", name("runtime_class")),
    ...only(
      "nodeSelector",
      problems.read("node_selector", config["node_selector"], textMapOf, selector),
    ),
    ...only("tolerations", readTolerations(config, problems)),
    ...only("backoffLimit", readBackoffLimit(config, problems)),
  };
  return found;
}

function only<Name extends string, T>(
  name: Name,
  value: T | undefined,
): { readonly [key in Name]?: T } {
  return (value === undefined ? {} : { [name]: value }) as { readonly [key in Name]?: T };
}

function readBackoffLimit(config: JsonObject, problems: Problems): number | undefined {
  const take = (value: Json) =>
    [Number(value)].find((count) => Number.isInteger(count) && count >= 0);
  return problems.read("backoff_limit", config["backoff_limit"], take, "a whole number from 0 on");
}

function readTolerations(
  config: JsonObject,
  problems: Problems,
): ClusterFields["tolerations"] | undefined {
  const { tolerations } = config;
  if (!isGiven(tolerations)) {
    return undefined;
  }
  const items: readonly Json[] = Array.isArray(tolerations) ? tolerations : [tolerations];
  return items.map((item, index) => {
    const map = isJsonObject(item) ? item : {};
    if (!isJsonObject(item)) {
      problems.add(`tolerations.${index}`, `must be a map with ${TOLERATION_KEYS.join(", ")}`);
    }
    problems.checkKeys(`tolerations.${index}`, map, TOLERATION_KEYS);
    const entries = Object.entries(map).flatMap(([key, value]) =>
      typeof value === "string" || typeof value === "number" ? [[key, value] as const] : [],
    );
    return Object.fromEntries(entries);
  });
}
