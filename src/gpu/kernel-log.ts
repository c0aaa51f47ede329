/**
 * The kernel's log, read as far as it is written: first all since the machine started, then what came since.
 *
 * Opened so that reading never waits; a device gives one record a read, `6,1234,5678,-;text`. When records were
 * overwritten before they were read, the kernel says so once and goes on with the oldest that is left. A file, such
 * as a copy by syslog, is read by lines; when it has shrunk or was replaced, from its beginning.
 */
import type { Stats } from "node:fs";
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from "node:fs";

export interface KernelLog {
  /** New lines since the last call, without their prefix. */
  read(): readonly KernelLine[];
  /** Why nothing can be read, as the system says it: `EPERM`, `ENOENT`; absent: it can. */
  readonly problem: string | undefined;
  close(): void;
}

export interface KernelLine {
  readonly text: string;
  /** Microseconds since the machine started; undefined in files that do not say. */
  readonly timeUs?: number;
}

/** The largest record of the kernel is 8 KiB; a smaller buffer would be refused. */
const BUFFER_BYTES = 64 * 1024;
/** In one call, so that a flood of messages cannot stop the worker; the rest comes with the next. */
const RECORDS_MAX = 50_000;
const RECORD = /^\d+,\d+,(\d+),[^;]*;(.*)$/;

/** @param path `/dev/kmsg`, or a file; empty: nothing is read. */
export function openKernelLog(path: string): KernelLog {
  let fd: number | undefined;
  let opened: Stats | undefined;
  let position = 0;
  let rest = "";
  let problem: string | undefined;
  const buffer = Buffer.alloc(path === "" ? 0 : BUFFER_BYTES);

  const open = (): number => {
    fd ??= openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    opened ??= fstatSync(fd);
    return fd;
  };
  const close = (): void => {
    if (fd !== undefined) {
      closeSync(fd);
    }
    fd = undefined;
    opened = undefined;
    position = 0;
    rest = "";
  };

  /** Text of the next read; empty: there is no more; undefined: something was overwritten, read on. */
  const next = (): string | undefined => {
    const from = open();
    const isFile = opened?.isFile() ?? false;
    try {
      const length = readSync(from, buffer, 0, buffer.length, isFile ? position : null);
      position += length;
      return buffer.toString("utf8", 0, length);
    } catch (error) {
      const code = codeOf(error);
      if (code === "EAGAIN") {
        return "";
      }
      if (code === "EPIPE") {
        return undefined;
      }
      throw error;
    }
  };

  const read = (): readonly KernelLine[] => {
    if (isReplaced(path, opened, position)) {
      close();
    }
    const found: KernelLine[] = [];
    for (let count = 0; count < RECORDS_MAX; count += 1) {
      const text = next();
      if (text === "") {
        break;
      }
      const lines = (rest + (text ?? "")).split("\n");
      rest = lines.pop() ?? "";
      found.push(...lines.filter((line) => !line.startsWith(" ")).map(parseLine));
    }
    return found;
  };

  return {
    read: () => {
      if (path === "") {
        return [];
      }
      try {
        const found = read();
        problem = undefined;
        return found;
      } catch (error) {
        problem = codeOf(error);
        close();
        return [];
      }
    },
    get problem() {
      return problem;
    },
    close,
  };
}

function isReplaced(path: string, opened: Stats | undefined, position: number): boolean {
  if (opened?.isFile() !== true) {
    return false;
  }
  const now = statSync(path, { throwIfNoEntry: false });
  return now !== undefined && (now.ino !== opened.ino || now.size < position);
}

function parseLine(line: string): KernelLine {
  const [, timeUs, text] = RECORD.exec(line) ?? [];
  return text === undefined ? { text: line } : { text, timeUs: Number(timeUs) };
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
