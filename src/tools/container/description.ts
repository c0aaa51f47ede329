import { RUNTIME_NAMES } from "../../containers/runtime.ts";
import type { JsonObject } from "../../core/json.ts";
import type { ToolDescription, ToolFields } from "../../dsl/tool-description.ts";
import { readPlan } from "./plan.ts";
import { PULL_TIMEOUT, STOP_GRACE } from "./resources.ts";

/** What every task in a container may say, beside what runs in it. */
export const CONTAINER_FIELDS: ToolFields = {
  env: {
    type: ["map", "list"],
    about:
      "variables: values, or {credential, field}; or a list of {name, value | value_from {secret_name, secret_key}}",
  },
  files: {
    type: "map",
    about:
      "by path below /noetl/files: text, {base64}, {ref} of a stored value; other values as JSON",
  },
  workdir: { type: "text", about: "folder that it begins in", default: "that of the image" },
  mounts: {
    type: "list",
    about: "`/data:/data:ro`, or {source, target, type: bind, volume or tmpfs, read_only}",
  },
  network: {
    type: "text",
    about: "none, host, or the name of a network",
    default: "the runtime's default network",
  },
  user: { type: "scalar", about: "uid, uid:gid, or a name", default: "that of the image" },
  resources: {
    type: "map",
    about:
      "limits: cpu, memory, shm_size, pids; gpu {count, type, memory_min, mig_profile, shared}; or requests and limits as in Kubernetes",
  },
  gpu: { type: "any", about: "the same as resources.gpu: a number, or a map" },
  gpus: { sameAs: "gpu" },
  timeouts: {
    type: "map",
    about: `queue: until a worker and GPUs are free; pull (${PULL_TIMEOUT}); run; stop_grace: from SIGTERM to SIGKILL (${STOP_GRACE})`,
  },
  pull_policy: { type: "text", about: "always, missing or never", default: "missing" },
  registry: {
    type: ["text", "map"],
    about: "credential for the pull, or {server, username, password}",
  },
  runtime: {
    type: "text",
    about: "what runs it",
    choices: ["auto", ...RUNTIME_NAMES],
    default: "auto",
  },
  read_only: { type: "boolean", about: "root file system, but for /tmp and /noetl", default: true },
  capabilities: { type: "list", about: "to keep; all others are dropped" },
  no_new_privileges: { type: "boolean", about: "as the kernel means it", default: true },
  privileged: { type: "boolean", about: "refused", default: false },
  namespace: { type: "text", about: "Kubernetes: where the Job is made" },
  service_account: { type: "text", about: "Kubernetes: of the Job" },
  node_selector: { type: "map", about: "Kubernetes: labels of nodes that will do" },
  tolerations: { type: "list", about: "Kubernetes: taints of nodes that do not matter" },
  runtime_class: { type: "text", about: "Kubernetes: such as nvidia" },
  backoff_limit: { type: "integer", about: "Kubernetes: restarts of the Job", default: 0 },
  restart_policy: { type: "text", about: "Kubernetes: only Never", default: "Never" },
  volumes: {
    type: "list",
    about:
      "{name, empty_dir | persistent_volume_claim | config_map | secret}: all but the first need Kubernetes",
  },
  volume_mounts: { type: "list", about: "{name, mount_path, read_only} of `volumes`" },
};

export const CONTAINER_RESULT: ToolDescription["result"] = {
  "": "what /noetl/result.json holds, else the last line of stdout that is a JSON map or list",
  result: "the same where that is no map",
  _container:
    "{exit_code, image, image_digest, runtime, container, gpus, seconds {pull, run}, artifacts {path: reference}}",
};

export const CONTAINER_FAILURES: ToolDescription["failures"] = {
  exit_code: "an exit code other than 0, with the end of stderr; code EXIT_n",
  oom_host: "killed for its memory, as the runtime or the cgroup shows",
  oom_gpu: "CUDA had no memory left, as the program says",
  gpu_fault: "a GPU that is broken, or that a process would not leave",
  image_pull: "an image that cannot be had; code IMAGE_PULL_TIMEOUT: not in time",
  worker_lost: "its machine is gone",
  parse: "a result.json that is no JSON, with the place",
  not_found: "no such runtime, stored value or GPU here",
  client_error: "what the runtime refuses",
  connection: "a runtime or a server that does not answer",
};

export const CONTAINER: ToolDescription = {
  kind: "container",
  summary: "runs `image` with `command` and `args`; gives what the program leaves as its result",
  runsOn: "worker",
  isDurable: true,
  needs: [{ oneOf: ["image"], text: "an image" }],
  fields: {
    image: { type: "text", about: "by name and tag, or by digest" },
    command: {
      type: ["list", "text"],
      about:
        "in place of the image's entry point: a list word by word; a text as a shell runs it, by /bin/sh -c unless it is a single plain command",
      holds: "commands",
    },
    args: {
      type: ["list", "text"],
      about: "behind the command: a list, or a text that is split at blanks outside quotes",
      holds: "commands",
    },
    ...CONTAINER_FIELDS,
  },
  result: CONTAINER_RESULT,
  failures: CONTAINER_FAILURES,
  example: `kind: container
image: pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime
command: [python, /noetl/files/train.py]
files: { train.py: "import json; json.dump({'loss': 0.1}, open('/noetl/result.json', 'w'))" }
env: { HF_TOKEN: { credential: hugging_face, field: token } }
resources: { cpu: 4, memory: 16Gi, gpu: { count: 1, type: [H100, A100] } }
timeouts: { queue: 1h, pull: 10m, run: 2h, stop_grace: 30s }
`,
  check: (config: JsonObject) => readPlan(config).problems,
};
