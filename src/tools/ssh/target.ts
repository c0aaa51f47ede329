/** Which machine an ssh or sftp task talks to, and how it gets in. */
import type { Json, JsonObject } from "../../core/json.ts";
import type { Layers } from "../layers.ts";
import { findText, loadLayers } from "../layers.ts";
import { taskError } from "../task-error.ts";
import type { ToolContext } from "../tool.ts";

export interface SshTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Text of the key's file. */
  readonly privateKey: string | undefined;
  readonly passphrase: string | undefined;
  readonly password: string | undefined;
  /** Lines of a `known_hosts` file; undefined: those of the worker's user and machine. */
  readonly knownHosts: string | undefined;
  /** False only when the task says so: then any host key will do. */
  readonly isStrict: boolean;
}

const FIELDS = {
  host: ["host", "ssh_host", "hostname"],
  port: ["port", "ssh_port"],
  user: ["user", "username", "ssh_user"],
  privateKey: ["private_key", "ssh_private_key", "key"],
  passphrase: ["passphrase", "private_key_passphrase"],
  password: ["password", "ssh_password"],
  knownHosts: ["known_hosts"],
  hostKey: ["host_key"],
} as const;

/** Neither may look like an option, or like more than one word. */
const HOST = /^[A-Za-z0-9_:][\w.:%-]*$/;
const USER = /^[A-Za-z0-9_][\w.@\\+-]*$/;
const PORT_DEFAULT = 22;

/**
 * The task's fields over those of its credential.
 *
 * @throws TaskError if something is missing or cannot be done safely; CredentialError.
 */
export async function sshTarget(config: JsonObject, context: ToolContext): Promise<SshTarget> {
  const layers = await loadLayers(config, context);
  const target = readTarget(layers, config["strict_host_key_checking"]);
  if (target.privateKey === undefined && target.password === undefined) {
    throw invalid("SSH_LOGIN_MISSING", "the credential has neither private_key nor password");
  }
  if (!target.isStrict && target.password !== undefined) {
    const message =
      "a password is only sent to a host whose key is checked: give known_hosts or host_key, or use a private key";
    throw invalid("SSH_PASSWORD_UNSAFE", message);
  }
  return target;
}

function readTarget(layers: Layers, strict: Json | undefined): SshTarget {
  const host = findText(layers, FIELDS.host) ?? "";
  const user = findText(layers, FIELDS.user) ?? "";
  const port = Number(findText(layers, FIELDS.port) ?? PORT_DEFAULT);
  checkPlace(host, user, port);
  const hostKey = findText(layers, FIELDS.hostKey);
  const entry = hostKey === undefined ? undefined : `${placeOf(host, port)} ${hostKey}`;
  return {
    host,
    port,
    user,
    privateKey: keyText(findText(layers, FIELDS.privateKey)),
    passphrase: findText(layers, FIELDS.passphrase),
    password: findText(layers, FIELDS.password),
    knownHosts: findText(layers, FIELDS.knownHosts) ?? entry,
    isStrict: strict !== false && strict !== "no" && strict !== "false",
  };
}

function checkPlace(host: string, user: string, port: number): void {
  if (host === "" || user === "") {
    const lacks = host === "" ? "host" : "user";
    throw invalid(
      "SSH_TARGET_MISSING",
      `the task says no ${lacks}: it needs \`auth\` or \`${lacks}\``,
    );
  }
  if (!HOST.test(host)) {
    throw invalid("SSH_HOST_INVALID", `"${host}" is not the name or address of a host`);
  }
  if (!USER.test(user)) {
    throw invalid("SSH_USER_INVALID", `"${user}" is not the name of a user`);
  }
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw invalid("SSH_PORT_INVALID", "`port` must be a number from 1 to 65535");
  }
}

function placeOf(host: string, port: number): string {
  return port === PORT_DEFAULT ? host : `[${host}]:${port}`;
}

/** Line ends as ssh wants them; a key out of one line of JSON or of a variable may have `\n` in it. */
function keyText(key: string | undefined): string | undefined {
  if (key === undefined) {
    return undefined;
  }
  const lines = key.includes("\n") ? key : key.replaceAll("\\n", "\n");
  return `${lines.replaceAll("\r\n", "\n").trim()}\n`;
}

function invalid(code: string, message: string) {
  return taskError("schema", code, message);
}
