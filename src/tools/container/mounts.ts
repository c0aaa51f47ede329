/** `mounts`, and `volumes` with `volume_mounts` as Kubernetes has them. */
import { normalize } from "node:path/posix";
import type { ContainerMount } from "../../containers/runtime.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Problems } from "./reading.ts";
import { flagOf, isGiven, textOf } from "./reading.ts";

const MOUNT_KEYS = ["source", "target", "type", "read_only"];
const VOLUME_KEYS = ["name", "empty_dir", "persistent_volume_claim", "config_map", "secret"];
const VOLUME_MOUNT_KEYS = ["name", "mount_path", "read_only", "sub_path"];
const MOUNT_TEXT = "a text such as /data:/data:ro, or a map {source, target, type, read_only}";
/** The task's own folder is there already. */
const OWN_FOLDER = "/noetl";

type LocalType = Extract<ContainerMount["type"], "bind" | "volume" | "tmpfs">;
const LOCAL_TYPES: readonly LocalType[] = ["bind", "volume", "tmpfs"];

export function readMounts(config: JsonObject, problems: Problems): readonly ContainerMount[] {
  const own = listOf(config, "mounts", problems).flatMap((item, index) => {
    const found = readMount(item, `mounts.${index}`, problems);
    return found === undefined ? [] : [found];
  });
  const all = [...own, ...readVolumeMounts(config, problems)];
  const targets = all.map(({ target }) => target);
  for (const target of targets.filter((each, index) => targets.indexOf(each) < index)) {
    problems.add("mounts", `has ${target} twice`);
  }
  return all;
}

function listOf(config: JsonObject, name: string, problems: Problems): readonly Json[] {
  const value = config[name];
  if (!isGiven(value)) {
    return [];
  }
  return Array.isArray(value) ? value : (problems.add(name, "must be a list") ?? []);
}

function readMount(item: Json, field: string, problems: Problems): ContainerMount | undefined {
  const map = typeof item === "string" ? mapOfText(item) : item;
  if (!isJsonObject(map)) {
    return problems.add(field, `must be ${MOUNT_TEXT}`);
  }
  problems.checkKeys(field, map, MOUNT_KEYS);
  const source = textOf(map["source"] ?? null) ?? "";
  const target = readTarget(map["target"], `${field}.target`, problems);
  const type = readType(map, source, field, problems);
  const isReadOnly = readFlag(map["read_only"], `${field}.read_only`, problems);
  return target === undefined || type === undefined
    ? undefined
    : { source, target, type, isReadOnly };
}

/** `source:target[:ro]` as docker writes it. */
function mapOfText(text: string): JsonObject | undefined {
  const [source = "", target = "", mode = "rw", ...rest] = text.split(":");
  const isRight = rest.length === 0 && (mode === "ro" || mode === "rw") && target !== "";
  return isRight ? { source, target, read_only: mode === "ro" } : undefined;
}

function readType(
  map: JsonObject,
  source: string,
  field: string,
  problems: Problems,
): LocalType | undefined {
  const guess = source.startsWith("/") ? "bind" : "volume";
  const { type: written = guess } = map;
  const type = LOCAL_TYPES.find((one) => one === written);
  if (type === undefined) {
    return problems.add(`${field}.type`, `must be one of ${LOCAL_TYPES.join(", ")}`);
  }
  const isSourceRight = type === "tmpfs" || (type === "bind") === source.startsWith("/");
  const wanted = type === "bind" ? "an absolute path" : "the name of a volume";
  return isSourceRight && (type !== "volume" || /^[\w][\w.-]*$/.test(source))
    ? type
    : problems.add(`${field}.source`, `of type ${type} must be ${wanted}, not "${source}"`);
}

function readTarget(
  value: Json | undefined,
  field: string,
  problems: Problems,
): string | undefined {
  const path = typeof value === "string" ? normalize(value).replace(/(.)\/$/, "$1") : "";
  if (!path.startsWith("/") || path === "/" || /[,:\n]/.test(path)) {
    return problems.add(field, "must be an absolute path in the container, without , and :");
  }
  return path === OWN_FOLDER || path.startsWith(`${OWN_FOLDER}/`)
    ? problems.add(field, `must not be below ${OWN_FOLDER}, the task's own folder`)
    : path;
}

function readFlag(value: Json | undefined, field: string, problems: Problems): boolean {
  return problems.read(field, value, flagOf, "true or false") ?? false;
}

function readVolumeMounts(config: JsonObject, problems: Problems): readonly ContainerMount[] {
  const volumes = new Map(
    listOf(config, "volumes", problems).flatMap((item, index) => {
      const found = readVolume(item, `volumes.${index}`, problems);
      return found === undefined ? [] : [found];
    }),
  );
  return listOf(config, "volume_mounts", problems).flatMap((item, index) => {
    const found = readVolumeMount(item, volumes, `volume_mounts.${index}`, problems);
    return found === undefined ? [] : [found];
  });
}

type Volume = Pick<ContainerMount, "source" | "type" | "isReadOnly">;

function readVolume(
  item: Json,
  field: string,
  problems: Problems,
): readonly [string, Volume] | undefined {
  const map = isJsonObject(item) ? item : {};
  problems.checkKeys(field, map, VOLUME_KEYS);
  const name = textOf(map["name"] ?? null) ?? "";
  const volume = volumeOf(name, map);
  return name === "" || volume === undefined
    ? problems.add(field, `needs a name and one of ${VOLUME_KEYS.slice(1).join(", ")}`)
    : [name, volume];
}

function volumeOf(name: string, map: JsonObject): Volume | undefined {
  const { empty_dir: empty, persistent_volume_claim: claim, config_map: config, secret } = map;
  if (isJsonObject(empty)) {
    const isMemory = String(empty["medium"]).toLowerCase() === "memory";
    return { source: name, type: isMemory ? "tmpfs" : "empty_dir", isReadOnly: false };
  }
  const named = (value: Json | undefined, key: string, type: Volume["type"]) => {
    const source = isJsonObject(value) ? textOf(value[key] ?? null) : undefined;
    return source === undefined || source === ""
      ? undefined
      : { source, type, isReadOnly: isJsonObject(value) && value["read_only"] === true };
  };
  return (
    named(claim, "claim_name", "claim") ??
    named(config, "name", "config_map") ??
    named(secret, "secret_name", "secret")
  );
}

function readVolumeMount(
  item: Json,
  volumes: ReadonlyMap<string, Volume>,
  field: string,
  problems: Problems,
): ContainerMount | undefined {
  const map = isJsonObject(item) ? item : {};
  problems.checkKeys(field, map, VOLUME_MOUNT_KEYS);
  const name = textOf(map["name"] ?? null) ?? "";
  const volume = volumes.get(name);
  if (volume === undefined) {
    const known = [...volumes.keys()].join(", ") || "none";
    return problems.add(`${field}.name`, `must be that of a volume (${known}), not "${name}"`);
  }
  if (isGiven(map["sub_path"])) {
    return problems.add(`${field}.sub_path`, "is not supported: mount the whole volume");
  }
  const target = readTarget(map["mount_path"], `${field}.mount_path`, problems);
  const isReadOnly = readFlag(map["read_only"], `${field}.read_only`, problems);
  return target === undefined
    ? undefined
    : { ...volume, target, isReadOnly: isReadOnly || volume.isReadOnly };
}

/** The mounts that only a cluster has, each as the field where it stands. */
export function clusterMounts(mounts: readonly ContainerMount[]): readonly string[] {
  const names: Readonly<Partial<Record<ContainerMount["type"], string>>> = {
    claim: "persistent_volume_claim",
    config_map: "config_map",
    secret: "secret",
  };
  return mounts.flatMap(({ type, source }) => {
    const name = names[type];
    return name === undefined ? [] : [`${name} ${source}`];
  });
}
