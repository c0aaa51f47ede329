/** Where docker, podman and nerdctl differ. Everything else is one implementation: cli-runtime.ts. */
import type { RuntimeName } from "./runtime.ts";

export type GpuMode = "cdi" | "hook" | "none";

export interface Dialect {
  readonly name: Exclude<RuntimeName, "kubernetes">;
  /** Containers keep their output where the command line can read it; limited, so no disk fills up. */
  readonly logFlags: (file: string) => readonly string[];
  /** True: the output lies in the file that {@link logFlags} names, one line for each `write`. */
  readonly hasLogFile: boolean;
  /** Has the number of the container's first process written to a file; empty: it cannot. */
  readonly pidFlags: (file: string) => readonly string[];
  /** Where a registry's login is looked for, given a folder of the caller. */
  readonly login: {
    readonly file: string;
    readonly flags: (dir: string) => readonly string[];
    readonly env: (dir: string) => Readonly<Record<string, string>>;
    /** Name of Docker's own registry in that file. */
    readonly hub: string;
    /** True: the folder replaces that of the user, whose settings are to be copied. */
    readonly isConfig: boolean;
  };
  readonly removeFlags: readonly string[];
  readonly gpuFlags: Readonly<Record<GpuMode, (ids: readonly string[]) => readonly string[]>>;
  readonly installHint: string;
}

const byDevice = (ids: readonly string[]): readonly string[] =>
  ids.map((id) => `--device=nvidia.com/gpu=${id}`);
/** The quotes are for the runtime, which reads the value as comma-separated fields. */
const byHook = (ids: readonly string[]): readonly string[] => [`--gpus="device=${ids.join(",")}"`];
const none = (): readonly string[] => [];

/** Rotated by the daemon; a container that wrote more while no worker read it loses the oldest. */
const JSON_FILE = [
  "--log-driver=json-file",
  "--log-opt=max-size=256m",
  "--log-opt=max-file=4",
] as const;

const dockerLogin: Dialect["login"] = {
  file: "config.json",
  flags: none,
  env: (dir) => ({ DOCKER_CONFIG: dir }),
  hub: "https://index.docker.io/v1/",
  isConfig: true,
};

export const DIALECTS: readonly Dialect[] = [
  {
    name: "docker",
    logFlags: () => JSON_FILE,
    hasLogFile: false,
    pidFlags: none,
    login: dockerLogin,
    removeFlags: ["--force", "--volumes"],
    gpuFlags: { cdi: byDevice, hook: byHook, none },
    installHint: "install docker (https://docs.docker.com/engine/install)",
  },
  {
    name: "podman",
    logFlags: (file) => [
      "--log-driver=k8s-file",
      `--log-opt=path=${file}`,
      "--log-opt=max-size=1gb",
    ],
    hasLogFile: true,
    pidFlags: (file) => [`--pidfile=${file}`],
    login: {
      file: "auth.json",
      flags: (dir) => [`--authfile=${dir}/auth.json`],
      env: () => ({}),
      hub: "docker.io",
      isConfig: false,
    },
    removeFlags: ["--force", "--volumes", "--time=0"],
    // Podman takes `--gpus` and gives nothing.
    gpuFlags: { cdi: byDevice, hook: none, none },
    installHint: "install podman (https://podman.io/docs/installation)",
  },
  {
    name: "nerdctl",
    logFlags: () => JSON_FILE,
    hasLogFile: false,
    pidFlags: none,
    login: dockerLogin,
    removeFlags: ["--force", "--volumes"],
    gpuFlags: { cdi: byHook, hook: byHook, none },
    installHint: "install nerdctl (https://github.com/containerd/nerdctl)",
  },
];
