/** Words of an sftp batch, and what its `ls -l` prints. */
import { taskError } from "../task-error.ts";

export interface Entry {
  readonly name: string;
  readonly type: "file" | "directory" | "link" | "other";
  /** Bytes. */
  readonly size: number;
  readonly permissions: string;
  /** As the server's list has it, without seconds: `Nov 23 02:29`, or with the year when long ago. */
  readonly modified: string;
}

const LINE = /^([-dlbcps][-rwxsStT]{9})\S*\s+\S+\s+\S+\s+\S+\s+(\d+)\s+(\S+\s+\S+\s+\S+)\s(.+)$/;

const TYPES: Readonly<Record<string, Entry["type"]>> = {
  "-": "file",
  d: "directory",
  l: "link",
};

/**
 * A path as one word. Inside quotes the client takes patterns for plain text.
 *
 * @throws TaskError for a path that no batch can hold.
 */
export function quote(path: string): string {
  if (/[\n\r\0]/.test(path)) {
    throw taskError("schema", "SFTP_PATH_INVALID", "a path cannot have line breaks");
  }
  return `"${path.replaceAll(/["\\]/g, "\\$&")}"`;
}

/** Entries of `ls -lan`, sorted by name, without `.` and `..`. */
export function parseListing(text: string): readonly Entry[] {
  return text
    .split("\n")
    .flatMap((line) => {
      const match = LINE.exec(line.trimEnd());
      return match === null ? [] : [entryOf(match)];
    })
    .filter(({ name }) => name !== "." && name !== "..")
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function entryOf(match: RegExpExecArray): Entry {
  const [, permissions = "", size = "0", modified = "", path = ""] = match;
  return {
    name: path.split("/").at(-1) ?? path,
    type: TYPES[permissions.charAt(0)] ?? "other",
    size: Number(size),
    permissions,
    modified: modified.replaceAll(/\s+/g, " "),
  };
}
