import { expect, setDefaultTimeout, test } from "bun:test";
import type { CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import { createSealer, KEY_BYTES } from "../../../src/secrets/sealing.ts";
import { waitFor } from "../../support/wait.ts";
import type { Platform } from "./platform.ts";
import { KEY, playbook, resultOf, startPlatform } from "./platform.ts";

setDefaultTimeout(30_000);

const PASSWORD = "Tr0ub4dor&3-zebra";

interface Claimed {
  readonly commandId: CommandId;
  readonly attempt: number;
  readonly workerId: WorkerId;
}

async function savePostgres(platform: Platform, name = "db"): Promise<void> {
  const { hostname, port, username, password, pathname } = new URL(platform.databaseUrl);
  const data = {
    db_host: hostname,
    db_port: port,
    db_user: username,
    db_password: password === "" ? PASSWORD : password,
    db_name: pathname.slice(1),
  };
  await platform.call("POST", "/api/credentials", { name, type: "postgres", data });
}

test("a credential reaches a task by name, by template, and by what an earlier task gave", async () => {
  await using platform = await startPlatform();
  await savePostgres(platform);
  const { status, steps, message } = await platform.run(
    playbook(
      "names",
      `
workload: { pg_auth: db, half: d }
workflow:
  - step: start
    tool: { kind: postgres, auth: db, command: SELECT 1 AS n }
    next: { arcs: [{ step: by_template }] }
  - step: by_template
    tool: { kind: postgres, auth: "{{ pg_auth }}", command: SELECT 2 AS n }
    next: { arcs: [{ step: composed }] }
  - step: composed
    tool: { kind: postgres, auth: "{{ half }}b", command: SELECT 3 AS n }
    next: { arcs: [{ step: by_input }] }
  - step: by_input
    tool:
      kind: postgres
      input: { which: "{{ pg_auth }}" }
      auth: { credential: "{{ which }}" }
      command: SELECT 4 AS n
    next: { arcs: [{ step: pipeline }] }
  - step: pipeline
    tool:
      - find: { kind: python, code: "result = {'name': 'd' + 'b'}" }
      - read: { kind: postgres, auth: "{{ find.name }}", command: SELECT 5 AS n }
`,
    ),
  );
  expect(message).toBe("");
  expect(status).toBe("COMPLETED");
  expect(resultOf(steps, "pipeline")).toMatchObject({ read: { rows: [{ n: 5 }] } });
  const audit = platform.lines.filter((line) => line.includes("secret handed out"));
  expect(audit).toHaveLength(5);
  expect(JSON.parse(audit[0] ?? "{}")).toMatchObject({
    name: "db",
    source: "credential",
    step: "start",
    command_id: expect.any(String),
    worker_id: expect.any(String),
  });
  expect(await platform.registry.text()).toContain(
    'noetl_secrets_handed_total{source="credential",outcome="ok"} 5',
  );
});

test("a worker gets nothing that its command does not name, and nothing without a command", async () => {
  await using platform = await startPlatform();
  await savePostgres(platform);
  await platform.call("POST", "/api/credentials", {
    name: "other",
    type: "bearer",
    data: { token: "not-for-you-123" },
  });
  await platform.call("POST", "/api/catalog/register", {
    content: playbook(
      "held",
      `
keychain: [{ name: mine, kind: static, v: "1" }, { name: theirs, kind: static, v: "2" }]
workflow:
  - step: start
    tool: { kind: shell, input: { a: "{{ keychain.mine.v }}", b: "{{ workload.alias }}" }, command: sleep 30 }
`,
    ),
  });
  const started = await platform.call("POST", "/api/execute", {
    path: "held",
    payload: { alias: "db" },
  });
  const executionId = String(started.body["execution_id"]) as ExecutionId;
  const command = await waitFor("the command to run", async () => {
    const [open] = await platform.sql<Claimed[]>`
      SELECT command_id AS "commandId", attempt, worker_id AS "workerId"
      FROM noetl.command WHERE worker_id IS NOT NULL`;
    return open;
  });
  const held = { executionId, commandId: command.commandId, attempt: command.attempt };
  const ask = (name: string, isKeychain = false, workerId = command.workerId) =>
    platform.orchestrator.resolveCredential(workerId, {
      held,
      name,
      isKeychain,
      refusedVersion: "",
    });
  await expect(ask("other")).rejects.toMatchObject({ code: "CREDENTIAL_NOT_NAMED" });
  await expect(ask("theirs", true)).rejects.toMatchObject({ code: "CREDENTIAL_NOT_NAMED" });
  await expect(ask("db", false, "somebody" as WorkerId)).rejects.toMatchObject({
    code: "COMMAND_NOT_HELD",
  });
  expect((await ask("db")).type).toBe("postgres");
  expect((await ask("mine", true)).data).toEqual({ v: "1" });
  await platform.call("POST", `/api/executions/${executionId}/cancel`, {});
});

/** Everything that the platform keeps or shows of one execution, and all its secrets' rows. */
async function everythingKept(platform: Platform, id: string): Promise<string> {
  const tables = await platform.sql<{ name: string }[]>`
    SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = 'noetl'`;
  const parts = await Promise.all(
    tables.map(async ({ name }) => JSON.stringify(await platform.sql.unsafe(`TABLE ${name}`))),
  );
  const answers = await Promise.all(
    [
      `/api/executions/${id}`,
      `/api/executions/${id}/steps`,
      `/api/executions/${id}/events`,
      `/api/executions/${id}/logs`,
      `/api/vars/${id}`,
      "/api/credentials",
      "/api/credentials/token",
    ].map(async (path) => JSON.stringify((await platform.call("GET", path)).body)),
  );
  return [...parts, ...answers, ...platform.lines].join("\n");
}

test("a secret that a playbook misuses is nowhere afterwards: not kept, not logged, not shown", async () => {
  const token = "sk-L1ve+Zx/9wQ=~aa";
  await using platform = await startPlatform({ providers: { env: { TOKEN: token } } });
  await platform.call("POST", "/api/credentials", {
    name: "token",
    type: "basic",
    data: { username: "joe", password: { provider: "env", name: "TOKEN" } },
  });
  const { id, status, steps } = await platform.run(
    playbook(
      "leaks",
      `
keychain: [{ name: t, kind: secrets, provider: env, map: { token: TOKEN } }]
workflow:
  - step: start
    tool:
      kind: python
      input: { secret: "{{ keychain.t.token }}" }
      code: |
        import base64, json, sys, urllib.parse
        print("printed", secret)
        print("quoted", urllib.parse.quote(secret, safe=""))
        print(json.dumps({"in": secret}), file=sys.stderr)
        print(base64.b64encode(("joe:" + secret).encode()).decode())
        print(secret.encode().hex())
        result = {"value": secret, "list": [secret, {secret: "as a key"}], "inside": "a" + secret + "b"}
    set: { ctx.copied: "{{ start }}" }
    next: { arcs: [{ step: shell_it }] }
  - step: shell_it
    tool: { kind: shell, env: { S: "{{ keychain.t.token }}" }, command: 'echo "$S"; echo "$S" >&2; printf %s "$S" | base64' }
    next: { arcs: [{ step: stored }] }
  - step: stored
    tool:
      kind: artifact
      action: put
      input: { name: note, data: { token: "{{ keychain.t.token }}" } }
    next: { arcs: [{ step: refused }] }
  - step: refused
    tool:
      kind: http
      url: "http://127.0.0.1:1/?key={{ keychain.t.token }}"
      auth: token
      spec: { policy: { rules: [{ else: { then: { do: continue } } }] } }
    next: { arcs: [{ step: fail }] }
  - step: fail
    tool:
      kind: python
      input: { secret: "{{ keychain.t.token }}" }
      code: 'raise ValueError("cannot log in with " + secret)'
      spec: { policy: { rules: [{ when: "{{ output.status == 'error' }}", then: { do: retry, attempts: 2, delay: 0 } }] } }
`,
    ),
  );
  expect(status).toBe("FAILED");
  await waitFor("the log lines", () => platform.lines.some((line) => line.includes("printed ***")));
  const stored = resultOf(steps, "stored") as { readonly result_ref: string };
  const url = `/api/result/resolve?ref=${encodeURIComponent(stored.result_ref)}`;
  expect((await platform.call("GET", url)).body).toEqual({ token: "***" });
  const kept = await everythingKept(platform, id);
  expect(kept).toContain("cannot log in with ***");
  const forms = [
    token,
    encodeURIComponent(token),
    Buffer.from(token).toString("base64").replace(/=+$/, ""),
    Buffer.from(`joe:${token}`).toString("base64").replace(/=+$/, ""),
    Buffer.from(token).toString("hex"),
  ];
  expect(forms.filter((form) => kept.includes(form))).toEqual([]);
});

test("keys change while servers work: what the old key sealed opens until all is moved, and after a restart", async () => {
  const newKey = new Uint8Array(KEY_BYTES).fill(9);
  await using first = await startPlatform();
  for (let n = 0; n < 250; n++) {
    await first.reader.saveCredential({
      name: `c${n}`,
      type: "bearer",
      data: { token: `t-${n}-token` },
    });
  }
  await savePostgres(first);
  const work = (path: string) =>
    playbook(
      path,
      `
workload: { items: 12 }
workflow:
  - step: start
    loop: { in: "{{ items }}", iterator: n, spec: { mode: parallel, max_in_flight: 4 } }
    tool: { kind: postgres, auth: db, command: SELECT 1 AS n }
`,
    );
  // A second server with the new key, the old one still there for opening.
  await using second = await startPlatform({
    databaseUrl: first.databaseUrl,
    secrets: createSealer(newKey, [KEY]),
  });
  const [answer, ...runs] = await Promise.all([
    second.call("POST", "/api/credentials/rotate"),
    second.run(work("rotation/one")),
    second.run(work("rotation/two")),
  ]);
  expect(runs.map(({ status }) => status)).toEqual(["COMPLETED", "COMPLETED"]);
  const { keyId } = createSealer(newKey);
  expect(answer?.body).toMatchObject({ key_id: keyId, failed: [], keys: { [keyId]: 251 } });
  expect((await second.call("POST", "/api/credentials/rotate")).body["rewrapped"]).toBe(0);
  // The first server lacks the new key: it says which, and where to give it.
  const refused = await first.orchestrator.openCredential("c1").catch((error: unknown) => error);
  expect(refused).toMatchObject({
    code: "SEAL_KEY_MISSING",
    message: expect.stringMatching(new RegExp(`key ${keyId}.*NOETL_ENCRYPTION_OLD_KEYS`)),
  });
  await using third = await startPlatform({
    databaseUrl: first.databaseUrl,
    secrets: createSealer(newKey),
  });
  expect((await third.orchestrator.openCredential("c1")).data).toEqual({ token: "t-1-token" });
});

test("a key that is missing fails the task and the rotation, naming the key", async () => {
  await using first = await startPlatform();
  await savePostgres(first);
  await using second = await startPlatform({
    databaseUrl: first.databaseUrl,
    secrets: createSealer(new Uint8Array(KEY_BYTES).fill(9)),
  });
  const { error } = await second.run(
    playbook(
      "no/key",
      `
workflow:
  - step: start
    tool: { kind: postgres, auth: db, command: SELECT 1 }
`,
    ),
  );
  expect(error).toMatchObject({ kind: "auth", code: "SEAL_KEY_MISSING" });
  expect(JSON.stringify(error)).toContain("NOETL_ENCRYPTION_OLD_KEYS");
  const { body } = await second.call("POST", "/api/credentials/rotate");
  expect(body["failed"]).toMatchObject([{ name: "db" }]);
});
