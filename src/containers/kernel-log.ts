/** The kernel's own word that it has killed a process for want of memory. */
import { closeSync, constants, openSync, readSync } from "node:fs";

const RECORD_BYTES_MAX = 8192;

/**
 * Looks for a kill in the control group whose path holds `id`; undefined when the kernel's log has none, or
 * may not be read (it takes root, or `kernel.dmesg_restrict=0`).
 */
export function findOomKill(id: string): string | undefined {
  for (const record of readKernelLog()) {
    if (record.includes("oom-kill:") && record.includes(id)) {
      const [, task = "a process"] = /task=([^,]*)/.exec(record) ?? [];
      const isOwnLimit = record.includes("CONSTRAINT_MEMCG");
      return isOwnLimit
        ? `kernel log: killed ${task} at the container's memory limit`
        : `kernel log: killed ${task} because the machine was out of memory`;
    }
  }
  return undefined;
}

function* readKernelLog(): Generator<string> {
  const file = openKernelLog();
  if (file === undefined) {
    return;
  }
  const buffer = Buffer.allocUnsafe(RECORD_BYTES_MAX);
  try {
    for (;;) {
      const count = readRecord(file, buffer);
      if (count === undefined) {
        return;
      }
      yield buffer.toString("utf8", 0, count);
    }
  } finally {
    closeSync(file);
  }
}

function openKernelLog(): number | undefined {
  try {
    return openSync("/dev/kmsg", constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    // Not root, or no Linux.
    return undefined;
  }
}

/** Undefined at the end, which is EAGAIN; a record that was overwritten meanwhile is EPIPE: go on. */
function readRecord(file: number, buffer: Buffer): number | undefined {
  for (;;) {
    try {
      const count = readSync(file, buffer, 0, RECORD_BYTES_MAX, null);
      return count === 0 ? undefined : count;
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EPIPE")) {
        return undefined;
      }
    }
  }
}
