/** What the runtimes say when something fails, and what that means. Pure: texts in, errors out. */
import type { FailureKind } from "../engine/failure.ts";
import { ContainerError } from "./runtime.ts";

interface Meaning {
  readonly pattern: RegExp;
  readonly kind: FailureKind;
  readonly code: string;
  readonly isRetryable?: boolean;
  /** Behind what the runtime says: what to do. */
  readonly hint?: string;
}

/** The daemon, not the call. The first that matches counts, here and below. */
const OUTAGE: readonly Meaning[] = [
  {
    pattern: /permission denied while trying to connect|dial unix \S+: connect: permission denied/i,
    kind: "connection",
    code: "RUNTIME_FORBIDDEN",
    isRetryable: false,
    hint: "add the worker's user to the group docker (usermod -aG docker USER) and start the worker again",
  },
  {
    pattern:
      /cannot connect to the docker daemon|is the docker daemon running|error during connect|failed to connect to the docker api|cannot connect to podman|cannot access containerd socket|rootless containerd not running|dial unix|connection reset by peer|unexpected EOF|database is locked|transport is closing|error reading from server: EOF|: EOF$|containerd.*unavailable|grpc: the client connection is closing/im,
    kind: "connection",
    code: "RUNTIME_UNREACHABLE",
    isRetryable: true,
  },
];

const PULL: readonly Meaning[] = [
  {
    pattern: /invalid reference format|invalid repository name|must be lowercase/i,
    kind: "image_pull",
    code: "IMAGE_NAME_INVALID",
    isRetryable: false,
  },
  {
    pattern: /no space left on device/i,
    kind: "image_pull",
    code: "IMAGE_DISK_FULL",
    isRetryable: false,
    hint: "free the disk of the images (docker system prune, podman system prune)",
  },
  {
    pattern: /no matching manifest for|no image found in .* for architecture|exec format/i,
    kind: "image_pull",
    code: "IMAGE_WRONG_PLATFORM",
    isRetryable: false,
    hint: "the image was not made for this machine's processor",
  },
  {
    pattern: /toomanyrequests|too many requests|rate limit/i,
    kind: "image_pull",
    code: "REGISTRY_RATE_LIMIT",
    isRetryable: true,
    hint: "log in (field `registry`) or pull through a mirror",
  },
  {
    pattern:
      /unauthorized|authentication required|incorrect username or password|invalid username\/password|access denied|access to the resource is denied|pull access denied|denied:|no basic auth credentials|\b40[13]\b/i,
    kind: "image_pull",
    code: "IMAGE_AUTH",
    isRetryable: false,
    hint: "the image does not exist, or it needs a login: name a credential in the field `registry`",
  },
  {
    pattern:
      /manifest unknown|manifest for .* not found|name unknown|repository .* not found|reading manifest .* not found|no such image|image not known|not found: manifest|: not found|does not exist|short-name .* did not resolve/i,
    kind: "image_pull",
    code: "IMAGE_NOT_FOUND",
    isRetryable: false,
  },
  {
    pattern: /x509|certificate|server gave HTTP response to HTTPS client/i,
    kind: "image_pull",
    code: "REGISTRY_UNREACHABLE",
    isRetryable: false,
    hint: "the runtime does not trust that registry: see its settings on certificates and insecure registries",
  },
  {
    pattern:
      /dial tcp|no such host|connection refused|timeout|timed out|TLS handshake|server misbehaving|network is unreachable|no route to host|\b50[0-9]\b|EOF|reset by peer|temporary failure/i,
    kind: "image_pull",
    code: "REGISTRY_UNREACHABLE",
    isRetryable: true,
  },
];

const START: readonly Meaning[] = [
  {
    pattern: /no such image|image not known|: not found: image|image .* not found/i,
    kind: "image_pull",
    code: "IMAGE_GONE",
    isRetryable: true,
    hint: "it was removed after it had been found",
  },
  {
    pattern:
      /unresolvable CDI devices|CDI device injection failed|failed to inject CDI|unknown device.*nvidia/i,
    kind: "gpu_fault",
    code: "GPU_UNKNOWN_TO_RUNTIME",
    isRetryable: false,
    hint: "make the CDI specification anew: nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml",
  },
  {
    pattern: /could not select device driver/i,
    kind: "gpu_fault",
    code: "GPU_DRIVER_MISSING",
    isRetryable: false,
    hint: "install the NVIDIA Container Toolkit, run nvidia-ctk runtime configure --runtime=docker, and start docker again",
  },
  {
    pattern:
      /nvidia-container-cli|nvidia-container-runtime|error running (prestart )?hook|running hook|hook #?\d/i,
    kind: "gpu_fault",
    code: "GPU_HOOK_FAILED",
    hint: "see `nvidia-smi` on that machine",
  },
  {
    pattern:
      /executable file not found|exec: .*: no such file|exec .*: no such file or directory|starting container process caused: .*no such file/i,
    kind: "not_found",
    code: "COMMAND_NOT_FOUND",
    isRetryable: false,
  },
  {
    pattern:
      /exec format error|exec .*permission denied|starting container process caused: .*permission denied|is a directory: unknown/i,
    kind: "client_error",
    code: "COMMAND_NOT_EXECUTABLE",
    isRetryable: false,
  },
  {
    pattern: /setting rlimit/i,
    kind: "client_error",
    code: "ULIMIT_REFUSED",
    isRetryable: false,
    hint: "the runtime may not raise it on that machine; -1 is as much as it may",
  },
  {
    pattern: /unable to find (user|group)|no matching entries in (passwd|group)/i,
    kind: "client_error",
    code: "USER_UNKNOWN",
    isRetryable: false,
    hint: "write the user as numbers",
  },
  {
    pattern: /network .*not found|unable to find network/i,
    kind: "client_error",
    code: "NETWORK_UNKNOWN",
    isRetryable: false,
  },
  {
    pattern:
      /bind source path does not exist|statfs .*no such file|error while creating mount source|no such volume|mountpoint|invalid mount/i,
    kind: "client_error",
    code: "MOUNT_FAILED",
    isRetryable: false,
  },
  {
    pattern: /workdir .* does not exist|chdir to cwd/i,
    kind: "client_error",
    code: "WORKDIR_MISSING",
    isRetryable: false,
  },
  {
    pattern: /no space left on device/i,
    kind: "limit",
    code: "DISK_FULL",
    isRetryable: true,
  },
  {
    pattern: /cannot allocate memory|resource temporarily unavailable/i,
    kind: "limit",
    code: "MACHINE_EXHAUSTED",
    isRetryable: true,
  },
];

export function isNameTaken(stderr: string): boolean {
  return /name .*is already in use|name-store error.*already used/is.test(stderr);
}

/** Containerd runs it, and its daemon does not know. */
export function isLost(stderr: string): boolean {
  return /\bid already in use/i.test(stderr);
}

/** Of a container whose processes have been ended. */
export function lostError(runtime: string, name: string): ContainerError {
  return new ContainerError(
    "worker_lost",
    "CONTAINER_LOST",
    `${runtime} died while it started container ${name} and knew nothing of it afterwards, though it ran: it was ended`,
    true,
  );
}

export function isMissing(stderr: string): boolean {
  return /no such (container|object)|no container with name or ID/i.test(stderr);
}

/** Undefined: its daemon is there. */
export function outageError(program: string, stderr: string): ContainerError | undefined {
  return firstMeaning(OUTAGE, `${program} is not reachable`, stderr);
}

export function pullError(program: string, image: string, stderr: string): ContainerError {
  const what = `Cannot pull ${image}`;
  return (
    (isRegistryText(stderr) ? undefined : outageError(program, stderr)) ??
    firstMeaning(PULL, what, stderr) ??
    new ContainerError("image_pull", "IMAGE_PULL_FAILED", `${what}: ${essence(stderr)}`, true)
  );
}

/** The registry's broken connections read like the daemon's. */
function isRegistryText(stderr: string): boolean {
  return /\bGet "?https?:|docker:\/\/|failed to do request|registry/i.test(stderr);
}

export function startError(program: string, name: string, stderr: string): ContainerError {
  const what = `Cannot start the container ${name}`;
  return (
    firstMeaning(START, what, stderr) ??
    outageError(program, stderr) ??
    new ContainerError("client_error", "CONTAINER_REFUSED", `${what}: ${essence(stderr)}`, false)
  );
}

export function callError(program: string, call: string, stderr: string): ContainerError {
  return (
    outageError(program, stderr) ??
    new ContainerError(
      "internal",
      "RUNTIME_CALL_FAILED",
      `\`${program} ${call}\` failed: ${essence(stderr)}`,
      true,
    )
  );
}

function firstMeaning(
  meanings: readonly Meaning[],
  what: string,
  stderr: string,
): ContainerError | undefined {
  const text = essence(stderr);
  const found = meanings.find(({ pattern }) => pattern.test(text));
  if (found === undefined) {
    return undefined;
  }
  const hint = found.hint === undefined ? "" : ` (${found.hint})`;
  return new ContainerError(found.kind, found.code, `${what}: ${text}${hint}`, found.isRetryable);
}

const ESSENCE_LENGTH_MAX = 1500;

/** The end of what a program says, without warnings, progress and the advice that it gives to people at a terminal. */
export function essence(stderr: string): string {
  const lines = stderr
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !NOISE.some((pattern) => pattern.test(line)))
    .map((line) => line.replace(/^(docker: |Error: )?(Error response from daemon: )?/, ""));
  return lines.join("; ").slice(-ESSENCE_LENGTH_MAX) || "it does not say why";
}

const NOISE: readonly RegExp[] = [
  /^time="[^"]*" level=(warning|info|debug) /,
  /^WARN/i,
  /^Run '.*--help' for more information/,
  /^See '.*--help'/,
  /^Trying to pull /,
  /^[0-9a-f]{12,64}(: |$)/,
  /^Getting image source signatures|^Copying (blob|config) |^Writing manifest|^Storing signatures/,
];
