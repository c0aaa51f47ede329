/** Why the system's ssh client failed, from what it said. */
import type { Failure, FailureKind } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";
import type { CommandResult } from "../child-process.ts";
import type { SshTarget } from "./target.ts";

/** Exit code of the client when it is ssh itself that failed. */
const SSH_FAILED = 255;
const STDERR_LENGTH_MAX = 8192;

const REASONS: readonly {
  readonly pattern: RegExp;
  readonly kind: FailureKind;
  readonly code: string;
}[] = [
  {
    pattern: /host key verification failed|host identification has changed|no .*host key is known/i,
    kind: "auth",
    code: "SSH_HOST_KEY",
  },
  {
    pattern:
      /permission denied \(|too many authentication failures|load key .*(invalid|incorrect|error)/i,
    kind: "auth",
    code: "SSH_AUTH",
  },
  { pattern: /could not resolve hostname/i, kind: "connection", code: "SSH_HOST_UNKNOWN" },
];

/** The connection's failure; undefined when it was the remote command that failed. */
export function connectionFailure(
  { exit_code, stderr }: CommandResult,
  { host, port }: SshTarget,
): Failure | undefined {
  if (exit_code !== SSH_FAILED) {
    return undefined;
  }
  const reason = REASONS.find(({ pattern }) => pattern.test(stderr));
  const lines = stderr.trimEnd().split("\n");
  const told = lines.find((line) => reason?.pattern.test(line) === true) ?? lines.at(-1) ?? "";
  const message = `cannot work on ${host}:${port} by ssh: ${told.trim()}`;
  const { kind = "connection", code = "SSH_UNREACHABLE" } = reason ?? {};
  return failure(kind, message, { code, stderr: stderr.slice(-STDERR_LENGTH_MAX) });
}

/** Of a remote command, or of a transfer. */
export function exitFailure(what: string, { exit_code, stderr }: CommandResult): Failure {
  const last = lastLine(stderr);
  const message = `${what} exited with code ${exit_code}${last === "" ? "" : `: ${last}`}`;
  return failure("exit_code", message, {
    code: `EXIT_${exit_code}`,
    stderr: stderr.slice(-STDERR_LENGTH_MAX),
  });
}

/** What a batch of sftp says when the server does not do it. */
export function transferFailure(what: string, result: CommandResult): Failure {
  const { stderr } = result;
  const message = `${what}: ${lastLine(stderr)}`;
  if (/no such file|not found/i.test(stderr)) {
    return failure("not_found", message, { code: "SFTP_NOT_FOUND" });
  }
  if (/permission denied/i.test(stderr)) {
    return failure("client_error", message, { code: "SFTP_PERMISSION" });
  }
  return failure("client_error", message, { code: "SFTP_FAILED" });
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1)?.trim() ?? "";
}
