import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { JsonObject } from "../../../src/core/json.ts";
import { createSshTool } from "../../../src/tools/ssh.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { hasSshd, KEY_PASSPHRASE, NO_SSHD, startSshd } from "../../support/sshd.ts";
import { waitFor } from "../../support/wait.ts";
import type { Call } from "./call.ts";
import { failureFrom, problemsOf, run, valueFrom } from "./call.ts";

// Each call is a login of its own.
setDefaultTimeout(30_000);

const sshd = hasSshd ? await startSshd() : undefined;
const tool = createSshTool({ env: process.env });
afterAll(() => sshd?.[Symbol.asyncDispose]());

const { place, keys, hostKey } = sshd ?? NO_SSHD;
const good = { ...place, private_key: keys.good, host_key: hostKey };

function call(data: JsonObject, config: JsonObject, more: Partial<Call> = {}): Call {
  const credentials = { box: { type: "ssh", data } };
  return { config: { auth: "box", ...config }, credentials, ...more };
}

/** What tasks have left of their keys. */
function leftovers(): readonly string[] {
  const folders = [tmpdir(), "/dev/shm"].filter((folder) => existsSync(folder));
  return folders.flatMap((folder) =>
    readdirSync(folder).filter((name) => name.startsWith(`noetl-ssh-${process.pid}-`)),
  );
}

describe.skipIf(!hasSshd)("commands", () => {
  test("gives exit code and output, and the lines as logs", async () => {
    const { outcome, logs } = await run(tool, call(good, { command: "echo out; echo err >&2" }));
    expect(outcome).toEqual({
      ok: true,
      value: { exit_code: 0, stdout: "out\n", stderr: "err\n" },
    });
    expect([...logs].sort()).toEqual(["stderr: err", "stdout: out"]);
    expect(leftovers()).toEqual([]);
  });

  test("takes a list, which stops at the first that fails, and input", async () => {
    const { outcome } = await run(tool, call(good, { cmds: ["echo a", "exit 3", "echo c"] }));
    expect(outcome).toMatchObject({
      ok: false,
      value: { exit_code: 3, stdout: "a\n" },
      failure: { kind: "exit_code", code: "EXIT_3" },
    });
    const value = await valueFrom(tool, call(good, { command: "cat", stdin: { a: 1 } }));
    expect(value).toMatchObject({ stdout: '{"a":1}\n' });
  });

  test("a command that begins with a minus is no option of the client", async () => {
    // The client would print its version and be content.
    const failure = await failureFrom(tool, call(good, { command: "-V" }));
    expect(failure).toMatchObject({ kind: "exit_code" });
  });

  test("a stopped task ends the client", async () => {
    const stop = new AbortController();
    const { outcome } = await run(
      tool,
      call(
        good,
        { command: "echo ready; sleep 60" },
        {
          signal: stop.signal,
          onLog: () => stop.abort(new DOMException("over", "TimeoutError")),
        },
      ),
    );
    expect(outcome).toMatchObject({ ok: false, failure: { kind: "timeout" } });
    expect(leftovers()).toEqual([]);
  });
});

describe.skipIf(!hasSshd)("logins", () => {
  test("a key with a passphrase, on one line, in known_hosts of one's own", async () => {
    const data = {
      ...place,
      private_key: keys.locked.trim().replaceAll("\n", "\\n"),
      passphrase: KEY_PASSPHRASE,
      known_hosts: `[127.0.0.1]:${place.port} ${hostKey}`,
    };
    expect(await valueFrom(tool, call(data, { command: "true" }))).toMatchObject({ exit_code: 0 });
    const wrong = await failureFrom(tool, call({ ...data, passphrase: "no" }, { command: "true" }));
    expect(wrong).toMatchObject({ kind: "auth", code: "SSH_AUTH" });
  });

  test("a key that the host does not know is an auth failure", async () => {
    const data = { ...good, private_key: keys.bad };
    const failure = await failureFrom(tool, call(data, { command: "true" }));
    expect(failure).toMatchObject({ kind: "auth", code: "SSH_AUTH" });
    expect(failure.message).toContain("Permission denied (publickey)");
  });

  test("a host with another key is not talked to", async () => {
    const dir = makeScratchDir("otherkey");
    Bun.spawnSync(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(dir, "key")]);
    const other = (await Bun.file(join(dir, "key.pub")).text()).trim();
    for (const data of [
      { ...good, host_key: other },
      { ...place, private_key: keys.good },
    ]) {
      const failure = await failureFrom(tool, call(data, { command: "true" }));
      expect(failure).toMatchObject({ kind: "auth", code: "SSH_HOST_KEY", retryable: false });
    }
  });

  test("checks no host key only if the task says so, and then sends no password", async () => {
    const config = { command: "true", strict_host_key_checking: false };
    const keyed = { ...place, private_key: keys.good };
    expect(await valueFrom(tool, call(keyed, config))).toMatchObject({ exit_code: 0 });
    const worded = { ...place, password: "secret" };
    expect(await failureFrom(tool, call(worded, config))).toMatchObject({
      kind: "schema",
      code: "SSH_PASSWORD_UNSAFE",
    });
  });

  test("a password that the host does not take is an auth failure", async () => {
    const data = { ...place, password: "secret", host_key: hostKey };
    const failure = await failureFrom(tool, call(data, { command: "true" }));
    expect(failure).toMatchObject({ kind: "auth", code: "SSH_AUTH" });
  });
});

describe.skipIf(!hasSshd)("bad input and bad hosts", () => {
  test("says what is missing or wrong", async () => {
    expect(problemsOf(tool, {})).toEqual(["ssh needs a command"]);
    const code = async (data: JsonObject) =>
      (await failureFrom(tool, call(data, { command: "true" }))).code;
    expect(await code({ user: "u", private_key: "k" })).toBe("SSH_TARGET_MISSING");
    expect(await code({ ...good, host: "-oProxyCommand=x" })).toBe("SSH_HOST_INVALID");
    expect(await code({ ...good, user: "-l" })).toBe("SSH_USER_INVALID");
    expect(await code({ ...good, port: 70_000 })).toBe("SSH_PORT_INVALID");
    expect(await code({ ...place })).toBe("SSH_LOGIN_MISSING");
    expect(await code({ ...good, private_key: "no key" })).toBe("SSH_AUTH");
  });

  test("a host that is away is a connection failure", async () => {
    const data = { ...good, port: 1 };
    const failure = await failureFrom(tool, call(data, { command: "true" }));
    expect(failure).toMatchObject({ kind: "connection", retryable: true });
    expect(failure.message).toContain("127.0.0.1:1");
  });

  test("says what to install when there is no client", async () => {
    const bare = createSshTool({ env: { PATH: "/nowhere" } });
    const failure = await failureFrom(bare, call(good, { command: "true" }));
    expect(failure).toMatchObject({ code: "SSH_CLIENT_MISSING" });
    expect(failure.message).toContain("openssh-client");
  });

  test("removes the keys of a worker that was killed", async () => {
    const dead = Bun.spawnSync(["true"]).pid;
    const folder = join(tmpdir(), `noetl-ssh-${dead}-x`);
    await Bun.write(join(folder, "key"), "secret");
    await valueFrom(tool, call(good, { command: "true" }));
    await waitFor("its end", () => !existsSync(folder));
    expect(existsSync(folder)).toBe(false);
  });
});
