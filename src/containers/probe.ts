/** Asks a runtime who it is, whether it works, and how it gives GPUs to containers. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errorMessage } from "../core/errors.ts";
import type { RuntimeFacts } from "../engine/command.ts";
import type { Cli } from "./cli.ts";
import { callError } from "./cli-error.ts";
import type { Dialect, GpuMode } from "./dialect.ts";
import type { Tree } from "./inspection.ts";
import { textOf, treeOf } from "./inspection.ts";
import { ContainerError } from "./runtime.ts";

const PROBE_MS = 8000;
/** Where podman looks, and docker unless its daemon says otherwise. */
const CDI_DIRS = ["/etc/cdi", "/var/run/cdi"];
const CDI_KIND = "nvidia.com/gpu";
const PODMAN_CDI = [4, 1] as const;
const NERDCTL_CDI = [2, 3] as const;

export interface Probed {
  readonly facts: RuntimeFacts;
  readonly gpuMode: GpuMode;
}

/** Never throws: a runtime that does not work is a finding. */
export async function probeRuntime(
  cli: Cli,
  { dialect, probeMs = PROBE_MS }: { readonly dialect: Dialect; readonly probeMs?: number },
): Promise<Probed> {
  try {
    const { version, gpuMode } = await ask({ cli, probeMs }, dialect.name);
    const facts = { name: dialect.name, version, isUsable: true, gpus: gpuMode };
    return { facts, gpuMode };
  } catch (error) {
    if (!(error instanceof ContainerError)) {
      throw error;
    }
    const problem = problemOf(dialect, error);
    const facts = { name: dialect.name, version: "", isUsable: false, problem };
    return { facts: { ...facts, gpus: "none" }, gpuMode: "none" };
  }
}

interface Answer {
  readonly version: string;
  readonly gpuMode: GpuMode;
}

interface Asked {
  readonly cli: Cli;
  readonly probeMs: number;
}

async function ask(asked: Asked, name: Dialect["name"]): Promise<Answer> {
  if (name === "podman") {
    const info = await askJson(asked, ["version", "--format", "json"]);
    const version = textOf(treeOf(info["Client"])["Version"]);
    // The version needs no storage and no rights; this does.
    await must(asked, ["ps", "--quiet", "--last=1"]);
    const hasCdi = isAtLeast(version, PODMAN_CDI) && hasSpec(CDI_DIRS);
    return { version, gpuMode: hasCdi ? "cdi" : "none" };
  }
  const info = await askJson(asked, ["info", "--format", "{{json .}}"]);
  checkServer(asked.cli.name, info);
  const version = textOf(info["ServerVersion"]);
  if (name === "nerdctl") {
    const client = /\d+\.\d+\.\d+/.exec(await must(asked, ["--version"]))?.[0] ?? "";
    return { version: client, gpuMode: isAtLeast(client, NERDCTL_CDI) ? "cdi" : "hook" };
  }
  const dirs = Array.isArray(info["CDISpecDirs"]) ? info["CDISpecDirs"].map(textOf) : [];
  return { version, gpuMode: hasSpec(dirs) ? "cdi" : "hook" };
}

/** Docker's client answers without its daemon, with the reason; and its name may be podman's. */
function checkServer(name: string, info: Tree): void {
  const errors = Array.isArray(info["ServerErrors"]) ? info["ServerErrors"].map(textOf) : [];
  if (errors.length > 0) {
    throw callError(name, "info", errors.join("; "));
  }
  if ("host" in info) {
    throw new ContainerError("connection", "RUNTIME_IS_PODMAN", `${name} is podman here`, false);
  }
}

async function askJson(asked: Asked, words: readonly string[]): Promise<Tree> {
  const text = await must(asked, words);
  try {
    return treeOf(JSON.parse(text));
  } catch (error) {
    const said = `it printed no JSON (${errorMessage(error)}): ${text.slice(0, 200)}`;
    throw callError(asked.cli.name, words[0] ?? "", said);
  }
}

async function must({ cli, probeMs }: Asked, words: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await cli.tryCall(words, { timeoutMs: probeMs });
  // Docker's client prints what it knows and fails; the reason is in both.
  if (exitCode !== 0) {
    throw callError(cli.name, words[0] ?? "", stderr);
  }
  return stdout;
}

function problemOf({ name, installHint }: Dialect, { code, message }: ContainerError): string {
  switch (code) {
    case "RUNTIME_MISSING":
      return `There is no ${name} on the PATH: ${installHint}`;
    case "RUNTIME_UNREACHABLE":
      return name === "docker"
        ? `${message}: start it (systemctl start docker), or set DOCKER_HOST`
        : `${message}: is its service running?`;
    default:
      return message;
  }
}

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [ownMajor = 0, ownMinor = 0] = version.split(".").map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

/** True: a specification there knows GPUs of NVIDIA. */
function hasSpec(dirs: readonly string[]): boolean {
  return dirs.some((dir) => listFiles(dir).some((file) => mentionsKind(join(dir, file))));
}

function listFiles(dir: string): readonly string[] {
  try {
    return readdirSync(dir).filter((name) => /\.(json|ya?ml)$/.test(name));
  } catch {
    // There is no such folder.
    return [];
  }
}

function mentionsKind(path: string): boolean {
  try {
    return readFileSync(path, "utf8").includes(CDI_KIND);
  } catch {
    // Not for this user.
    return false;
  }
}
