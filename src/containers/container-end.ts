/** What a container's end means: the proof that memory ran out, a daemon that went away, a command that never ran. */
import { essence } from "./cli-error.ts";
import type { ContainerFinish } from "./container-watch.ts";
import type { Inspection } from "./inspection.ts";
import { findOomKill } from "./kernel-log.ts";
import type { ContainerEnd } from "./runtime.ts";
import { ContainerError } from "./runtime.ts";
import type { EndMarks } from "./task-folder.ts";

/** A command that cannot be run ends its container at once. */
const INIT_FAILURE_MS = 3000;
/** How the inits of podman, docker and the shells say that; podman's catatonit only says 1. */
const INIT_CODES: ReadonlySet<number> = new Set([1, 126, 127]);
/** Of a process that was killed: by whom, the runtime does not say. */
const KILLED_CODES: ReadonlySet<number> = new Set([137, 143, 255]);

export interface EndEvidence {
  readonly runtime: string;
  readonly marks: EndMarks;
  /** The last lines that the container wrote. */
  readonly readLines: () => Promise<readonly string[]>;
}

/** @throws ContainerError when the task's command could not be run. */
export async function containerEnd(
  { inspection, hadOutage }: ContainerFinish,
  { runtime, marks: { isStopped, isOom }, readLines }: EndEvidence,
): Promise<ContainerEnd> {
  const { exitCode, startedAtMs, endedAtMs } = inspection;
  await checkInit(inspection, readLines);
  const proof = exitCode === 0 || isStopped ? undefined : oomProof(inspection, isOom);
  const end = { exitCode, startedAtMs, endedAtMs };
  if (proof !== undefined) {
    return { ...end, cause: { kind: "oom_host", proof } };
  }
  if (hadOutage && !isStopped && KILLED_CODES.has(exitCode)) {
    return { ...end, cause: { kind: "worker_lost", proof: `${runtime} went away meanwhile` } };
  }
  return end;
}

function oomProof({ id, isOomKilled }: Inspection, isOom: boolean): string | undefined {
  if (isOomKilled) {
    return "the runtime says OOMKilled";
  }
  return isOom ? "conmon saw the control group run out of memory" : findOomKill(id);
}

/** The init is the container's first process, so only its words tell a missing command from one that failed. */
async function checkInit(
  { name, exitCode, startedAtMs, endedAtMs }: Inspection,
  readLines: EndEvidence["readLines"],
): Promise<void> {
  if (!INIT_CODES.has(exitCode) || endedAtMs - startedAtMs > INIT_FAILURE_MS) {
    return;
  }
  const text = (await readLines()).join("\n");
  const [, reason] =
    /\(catatonit:\d+\): failed to exec pid1: (.*)/.exec(text) ??
    /\[FATAL tini \(\d+\)\] (exec .* failed: .*)/.exec(text) ??
    [];
  if (reason !== undefined) {
    throw initError(name, reason);
  }
}

function initError(name: string, reason: string): ContainerError {
  const isMissing = /no such file/i.test(reason);
  const what = isMissing ? "is not in its image" : "cannot be executed";
  return new ContainerError(
    isMissing ? "not_found" : "client_error",
    isMissing ? "COMMAND_NOT_FOUND" : "COMMAND_NOT_EXECUTABLE",
    `The command of container ${name} ${what}: ${essence(reason)}`,
    false,
  );
}
