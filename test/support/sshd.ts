/** A real sshd on a free loopback port, with keys of its own, for the user who runs the tests. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findFreePort } from "../../src/embedded/free-port.ts";
import { makeScratchDir } from "./scratch.ts";
import { waitFor } from "./wait.ts";

export const KEY_PASSPHRASE = "correct horse battery";

export interface Sshd {
  /** Where and who: host, port, user. */
  readonly place: { readonly host: string; readonly port: number; readonly user: string };
  /** Text of a key that may log in; of the same with a passphrase; of one that may not. */
  readonly keys: { readonly good: string; readonly locked: string; readonly bad: string };
  /** The host's key: `ssh-ed25519 …`. */
  readonly hostKey: string;
  [Symbol.asyncDispose](): Promise<void>;
}

const program = Bun.which("sshd", { PATH: `${process.env["PATH"]}:/usr/sbin:/usr/local/sbin` });

/** False: the tests that need one are skipped. `npm run setup` installs it for root only. */
export const hasSshd = program !== null;

/** What tests that are skipped do not look at. */
export const NO_SSHD: Pick<Sshd, "place" | "keys" | "hostKey"> = {
  place: { host: "", port: 0, user: "" },
  keys: { good: "", locked: "", bad: "" },
  hostKey: "",
};

/** @throws Error without an sshd on this machine. */
export async function startSshd(): Promise<Sshd> {
  if (program === null) {
    throw new Error("There is no sshd here: install openssh-server");
  }
  const dir = makeScratchDir("sshd");
  const port = await findFreePort();
  const username = Bun.spawnSync(["id", "-un"]).stdout.toString().trim();
  for (const name of ["host", "good", "bad"]) {
    makeKey(join(dir, name), "");
  }
  const good = readFileSync(join(dir, "good"), "utf8");
  writeFileSync(join(dir, "locked"), good, { mode: 0o600 });
  keygen(["-p", "-q", "-a", "1", "-P", "", "-N", KEY_PASSPHRASE, "-f", join(dir, "locked")]);
  writeFileSync(join(dir, "sshd_config"), configuration(dir, port));
  if (process.getuid?.() === 0) {
    // Its folder for separated privileges; the service's script makes it elsewhere.
    mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  }
  const child = Bun.spawn([program, "-D", "-e", "-f", join(dir, "sshd_config")], {
    stdio: ["ignore", "ignore", Bun.file(join(dir, "sshd.log"))],
  });
  await waitFor("sshd", async () => await isListening(port));
  return {
    place: { host: "127.0.0.1", port, user: username },
    keys: {
      good,
      locked: readFileSync(join(dir, "locked"), "utf8"),
      bad: readFileSync(join(dir, "bad"), "utf8"),
    },
    hostKey: readFileSync(join(dir, "host.pub"), "utf8").split(" ").slice(0, 2).join(" "),
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.exited;
    },
  };
}

function configuration(dir: string, port: number): string {
  return [
    "ListenAddress 127.0.0.1",
    `Port ${port}`,
    `HostKey ${join(dir, "host")}`,
    `AuthorizedKeysFile ${join(dir, "good.pub")}`,
    "PidFile none",
    "StrictModes no",
    "UsePAM no",
    "PermitRootLogin yes",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "Subsystem sftp internal-sftp",
    "",
  ].join("\n");
}

function makeKey(path: string, passphrase: string): void {
  keygen(["-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", path]);
}

function keygen(words: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["ssh-keygen", ...words], { stdout: "ignore" });
  if (exitCode !== 0) {
    throw new Error(`ssh-keygen failed: ${stderr.toString()}`);
  }
}

async function isListening(port: number): Promise<boolean> {
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: { data: () => undefined },
  });
  socket.end();
  return true;
}
