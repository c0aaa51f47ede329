/** Mounts of a container as volumes of its pod. */
import type { V1Volume, V1VolumeMount } from "@kubernetes/client-node";
import type { ContainerMount, ContainerSpec } from "../runtime.ts";
import { ContainerError } from "../runtime.ts";
import { filePaths } from "./secret.ts";

export interface Volumes {
  readonly volumes: V1Volume[];
  readonly volumeMounts: V1VolumeMount[];
}

interface Mounted {
  readonly volume: V1Volume;
  readonly mount: V1VolumeMount;
}

/** @throws ContainerError for what would reach a file of the node. */
export function volumesOf(spec: ContainerSpec, secretName: string): Volumes {
  const { shmBytes } = spec.resources;
  const mounted: Mounted[] = [
    ownFolder(),
    ...(shmBytes === undefined || hasMount(spec, "/dev/shm") ? [] : [sharedMemory(shmBytes)]),
    // Programs expect to write there, also where the image's own files are read-only.
    ...(spec.isRootWritable || hasMount(spec, "/tmp") ? [] : [emptyFolder("tmp", "/tmp")]),
    ...spec.mounts.map((mount, index) => given(mount, `mount-${index}`)),
  ];
  const files = inputFiles(spec, secretName);
  return {
    volumes: [...mounted.map(({ volume }) => volume), ...files.volumes],
    volumeMounts: [...mounted.map(({ mount }) => mount), ...files.volumeMounts],
  };
}

/** Writable, with the files of the task in it. */
function ownFolder(): Mounted {
  return emptyFolder("noetl", "/noetl");
}

function emptyFolder(name: string, mountPath: string): Mounted {
  return { volume: { name, emptyDir: {} }, mount: { name, mountPath } };
}

function sharedMemory(bytes: number): Mounted {
  return {
    volume: { name: "shm", emptyDir: { medium: "Memory", sizeLimit: String(bytes) } },
    mount: { name: "shm", mountPath: "/dev/shm" },
  };
}

function hasMount({ mounts }: ContainerSpec, path: string): boolean {
  return mounts.some(({ target }) => target.replace(/\/+$/, "") === path);
}

/** Each file by itself: the folder around them stays writable. */
function inputFiles(spec: ContainerSpec, secretName: string): Volumes {
  const paths = filePaths(spec);
  if (paths.length === 0) {
    return { volumes: [], volumeMounts: [] };
  }
  return {
    volumes: [{ name: "files", secret: { secretName, defaultMode: 0o555 } }],
    volumeMounts: paths.map(({ path, key }) => ({
      name: "files",
      mountPath: `/noetl/${path}`,
      subPath: key,
      readOnly: true,
    })),
  };
}

function given(source: ContainerMount, name: string): Mounted {
  const mount = {
    name,
    mountPath: source.target,
    ...(source.isReadOnly ? { readOnly: true } : {}),
  };
  return { volume: { name, ...volumeSource(source) }, mount };
}

function volumeSource({ type, source }: ContainerMount): Omit<V1Volume, "name"> {
  switch (type) {
    case "claim":
      return { persistentVolumeClaim: { claimName: source } };
    case "config_map":
      return { configMap: { name: source } };
    case "secret":
      return { secret: { secretName: source } };
    case "empty_dir":
      return { emptyDir: {} };
    case "tmpfs":
      return { emptyDir: { medium: "Memory" } };
    default:
      throw new ContainerError(
        "schema",
        "MOUNT_NOT_ON_KUBERNETES",
        `runtime: kubernetes does not mount ${source}: files of a node are not for tasks; use a persistent_volume_claim, config_map, secret or empty_dir`,
      );
  }
}
