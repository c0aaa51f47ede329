/** What a task gets that nobody else may read: its files, its variables, the login of its registry. */
import type { V1Secret } from "@kubernetes/client-node";
import type { ContainerSpec, RegistryLogin } from "../runtime.ts";
import { ContainerError } from "../runtime.ts";

export interface JobSecret {
  readonly name: string;
  readonly isLogin: boolean;
  /** Without its owner, which is the Job. */
  readonly secret: V1Secret;
}

/** The API takes no more in one Secret. */
const SECRET_BYTES_MAX = 2 ** 20;
const DOCKER_HUB = "https://index.docker.io/v1/";

/** @throws ContainerError of kind `limit` when they are too large. */
export function jobSecrets(
  spec: ContainerSpec,
  name: string,
  login: RegistryLogin | undefined,
): readonly JobSecret[] {
  const data = secretData(spec);
  return [
    ...(Object.keys(data).length === 0 ? [] : [named(name, "Opaque", data, false)]),
    ...(login === undefined ? [] : [loginSecret(`${name}-registry`, spec.image, login)]),
  ];
}

/** Files of the task with their keys; a key takes no slash. */
export function filePaths({ files }: ContainerSpec): readonly {
  readonly path: string;
  readonly key: string;
}[] {
  return Object.keys(files).map((path, index) => ({ path, key: `file-${index}` }));
}

function secretData(spec: ContainerSpec): Record<string, string> {
  const files = filePaths(spec).map(
    ({ path, key }) => [key, Buffer.from(spec.files[path] ?? [])] as const,
  );
  const env = Object.values(spec.env).map(
    (value, index) => [`env-${index}`, Buffer.from(value)] as const,
  );
  const all = [...files, ...env];
  const bytes = all.reduce((sum, [, value]) => sum + value.length, 0);
  if (bytes > SECRET_BYTES_MAX) {
    throw tooLarge(spec, bytes);
  }
  return Object.fromEntries(all.map(([key, value]) => [key, value.toString("base64")]));
}

function tooLarge({ files }: ContainerSpec, bytes: number): ContainerError {
  const largest = Object.entries(files)
    .map(([path, content]) => ({ path, size: content.length }))
    .sort((a, b) => b.size - a.size)[0];
  const which = largest === undefined ? "" : `; ${largest.path} alone has ${largest.size}`;
  return new ContainerError(
    "limit",
    "KUBERNETES_INPUT_TOO_LARGE",
    `Input, files and variables of the task have ${bytes} bytes, a Kubernetes Secret takes ${SECRET_BYTES_MAX}${which}: pass a reference or a volume instead`,
  );
}

function loginSecret(name: string, image: string, login: RegistryLogin): JobSecret {
  const { username, password, server = registryOf(image) } = login;
  const auth = Buffer.from(`${username}:${password}`).toString("base64");
  const config = JSON.stringify({ auths: { [server]: { username, password, auth } } });
  const data = { ".dockerconfigjson": Buffer.from(config).toString("base64") };
  return named(name, "kubernetes.io/dockerconfigjson", data, true);
}

/** The part before the first slash, if it can be a host. */
function registryOf(image: string): string {
  const [host = "", ...rest] = image.split("/");
  return rest.length > 0 && /[.:]|^localhost$/.test(host) ? host : DOCKER_HUB;
}

function named(
  name: string,
  type: string,
  data: Record<string, string>,
  isLogin: boolean,
): JobSecret {
  const labels = { "app.kubernetes.io/managed-by": "noetl", "noetl.tool-kind": "container" };
  return {
    name,
    isLogin,
    secret: {
      apiVersion: "v1",
      kind: "Secret",
      type,
      immutable: true,
      metadata: { name, labels },
      data,
    },
  };
}
