/**
 * The system's `ssh` and `sftp`, with the target's keys in files that are gone afterwards.
 *
 * Nothing of the worker's own configuration, agent or keys is used, so that a task means the same on
 * every worker. Passwords and passphrases go by SSH_ASKPASS out of a file that only this user can
 * read; they are asked for only after the host's key was found right.
 */
import { accessSync, constants, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandResult } from "../child-process.ts";
import { followChild } from "../child-process.ts";
import type { Environment } from "../environment.ts";
import { taskError } from "../task-error.ts";
import type { ToolContext } from "../tool.ts";
import type { SshTarget } from "./target.ts";

const CONNECT_SECONDS = 10;
/** A silent peer is given up after three of these. */
const ALIVE_SECONDS = 10;
const PREFIX = "noetl-ssh-";
/** In memory where there is such a folder. Programs cannot always be started from there. */
const MEMORY_FOLDER = "/dev/shm";

export interface SshRun {
  readonly program: "ssh" | "sftp";
  readonly target: SshTarget;
  /** After the options: destination and what to do there. */
  readonly words: readonly string[];
  readonly stdin?: string | undefined;
}

/** @throws TaskError if the program is missing. */
export async function runSsh(
  { program, target, words, stdin }: SshRun,
  env: Environment,
  context: Pick<ToolContext, "signal" | "log">,
): Promise<CommandResult> {
  removeStale();
  const secrets = mkdtempSync(join(secretFolder(), `${PREFIX}${process.pid}-`));
  const programs = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  try {
    const child = start([program, ...optionsOf(target, secrets), ...words], {
      stdin: stdin === undefined ? ("ignore" as const) : new Blob([stdin]),
      env: { ...env, ...askpass(target, secrets, programs) },
    });
    return await followChild(child, context);
  } finally {
    rmSync(secrets, { recursive: true, force: true });
    rmSync(programs, { recursive: true, force: true });
  }
}

function start(command: readonly string[], options: { stdin: "ignore" | Blob; env: Environment }) {
  const [program = ""] = command;
  const path = options.env["PATH"] ?? "";
  if (Bun.which(program, { PATH: path }) === null) {
    const message = `this worker has no \`${program}\`: install the package openssh-client`;
    throw taskError("internal", "SSH_CLIENT_MISSING", message);
  }
  return Bun.spawn([...command], {
    ...options,
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
}

/** First ones win, also over those that sftp adds by itself. */
function optionsOf(target: SshTarget, folder: string): readonly string[] {
  const { port, user, privateKey, password, knownHosts, isStrict } = target;
  const usesPassword = privateKey === undefined && password !== undefined;
  const methods = usesPassword ? "password,keyboard-interactive" : "publickey";
  const settings = {
    // Asking is what SSH_ASKPASS is for; there is no terminal to ask on.
    BatchMode: "no",
    User: user,
    Port: String(port),
    PreferredAuthentications: methods,
    NumberOfPasswordPrompts: "1",
    IdentitiesOnly: "yes",
    IdentityAgent: "none",
    IdentityFile: privateKey === undefined ? "none" : secretFile(folder, "key", privateKey),
    StrictHostKeyChecking: isStrict ? "yes" : "no",
    ...knownHostsSettings(knownHosts, isStrict, folder),
    UpdateHostKeys: "no",
    ClearAllForwardings: "yes",
    ForwardAgent: "no",
    PermitLocalCommand: "no",
    RequestTTY: "no",
    EscapeChar: "none",
    ConnectTimeout: String(CONNECT_SECONDS),
    ConnectionAttempts: "1",
    ServerAliveInterval: String(ALIVE_SECONDS),
    LogLevel: "ERROR",
  };
  const words = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  return ["-F", "none", ...words];
}

function knownHostsSettings(
  knownHosts: string | undefined,
  isStrict: boolean,
  folder: string,
): Readonly<Record<string, string>> {
  if (!isStrict) {
    return { UserKnownHostsFile: "/dev/null", GlobalKnownHostsFile: "/dev/null" };
  }
  return knownHosts === undefined
    ? {}
    : {
        UserKnownHostsFile: secretFile(folder, "known_hosts", `${knownHosts}\n`),
        GlobalKnownHostsFile: "/dev/null",
      };
}

/** Environment by which the client gets the password, or the key's passphrase. */
function askpass(target: SshTarget, secrets: string, programs: string): Environment {
  const secret = target.privateKey === undefined ? target.password : target.passphrase;
  const program = join(programs, "askpass");
  writeFileSync(program, '#!/bin/sh\nexec cat "$NOETL_ASKPASS_FILE"\n', { mode: 0o700 });
  return {
    SSH_ASKPASS: program,
    SSH_ASKPASS_REQUIRE: "force",
    DISPLAY: "none",
    SSH_AUTH_SOCK: undefined,
    NOETL_ASKPASS_FILE: secretFile(secrets, "answer", `${secret ?? ""}\n`),
  };
}

function secretFile(folder: string, name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

function secretFolder(): string {
  try {
    accessSync(MEMORY_FOLDER, constants.W_OK);
    return MEMORY_FOLDER;
  } catch {
    return tmpdir();
  }
}

/** Removes what workers left that were killed. */
function removeStale(): void {
  for (const folder of new Set([secretFolder(), tmpdir()])) {
    for (const name of readdirSync(folder).filter((each) => each.startsWith(PREFIX))) {
      const pid = Number(name.slice(PREFIX.length).split("-")[0]);
      if (pid > 0 && !isAlive(pid)) {
        rmSync(join(folder, name), { recursive: true, force: true });
      }
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}
