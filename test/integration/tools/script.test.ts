import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { JsonObject } from "../../../src/core/json.ts";
import { createTools } from "../../../src/tools/registry.ts";
import { startS3 } from "../../support/s3.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import type { Call } from "./call.ts";
import { failureFrom, problemsOf, run, valueFrom } from "./call.ts";

const tools = createTools({ selfCommand: ["bun", "src/main.ts"], env: process.env });
const tool = tools.get("script");
const PYTHON = "result = {'sum': a + b, 'by': 'python'}";
const JAVASCRIPT = "return { sum: a + b, by: 'javascript' };";
const TYPESCRIPT = "const sum: number = a + b; return { sum, by: 'typescript' };";
const SHELL = 'echo "got $NOETL_INPUT"';

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  routes: {
    "/sum.py": (request) =>
      request.headers.get("authorization") === "Bearer t1"
        ? new Response(PYTHON)
        : new Response("who are you?", { status: 401 }),
    "/sum.ts": new Response(TYPESCRIPT),
    "/broken.py": new Response("no", { status: 503 }),
    "/hang.py": () => new Promise<Response>(() => undefined),
  },
});
const base = `http://127.0.0.1:${server.port}`;
const s3 = startS3({ bucket: "code", objects: { "jobs/sum.py": PYTHON } });
afterAll(async () => {
  await server.stop(true);
  await s3.stop();
  await tools.close();
});

const input = { a: 1, b: 2 };

function call(config: JsonObject, more: Partial<Call> = {}): Call {
  return { config, input, ...more };
}

describe("inline", () => {
  test("runs each language; python when none is said", async () => {
    const scripts = { python: PYTHON, javascript: JAVASCRIPT, typescript: TYPESCRIPT };
    for (const [language, content] of Object.entries(scripts)) {
      const script = { type: "inline", content };
      expect(await valueFrom(tool, call({ language, script }))).toEqual({ sum: 3, by: language });
    }
    expect(await valueFrom(tool, call({ code: PYTHON }))).toMatchObject({ by: "python" });
    const value = await valueFrom(tool, call({ language: "shell", code: SHELL }));
    expect(value).toMatchObject({ exit_code: 0, stdout: 'got {"a":1,"b":2}\n' });
  });

  test("a script that fails fails the task as its language's tool says", async () => {
    const raised = await failureFrom(tool, call({ code: "raise ValueError('bad')" }));
    expect(raised).toMatchObject({ kind: "exit_code" });
    expect(raised.message).toContain("bad");
    const exited = await failureFrom(tool, call({ language: "sh", code: "exit 4" }));
    expect(exited).toMatchObject({ kind: "exit_code", code: "EXIT_4" });
  });
});

describe("files", () => {
  test("the extension says the language, the first line the shell", async () => {
    const dir = makeScratchDir("script");
    await Bun.write(join(dir, "sum.py"), PYTHON);
    await Bun.write(join(dir, "sum.js"), JAVASCRIPT);
    await Bun.write(join(dir, "name.sh"), '#!/bin/bash\necho "$(basename $BASH) $0"');
    const value = (script: JsonObject) => valueFrom(tool, call({ script }));
    expect(await value({ type: "local", uri: join(dir, "sum.py") })).toMatchObject({ sum: 3 });
    expect(await value({ uri: `file://${join(dir, "sum.js")}` })).toMatchObject({ sum: 3 });
    const shell = await value({ uri: join(dir, "name.sh"), source: { type: "file" } });
    expect(shell).toMatchObject({ stdout: "bash /bin/bash\n" });
  });

  test("one that is not there is not found", async () => {
    const failure = await failureFrom(tool, call({ script: { uri: "/no/such.py" } }));
    expect(failure).toMatchObject({ kind: "not_found", code: "SCRIPT_NOT_FOUND" });
  });
});

describe("http", () => {
  const credentials = { web: { type: "bearer", data: { token: "t1" } } };

  test("loads with a credential, for this tool and for python", async () => {
    const script = { uri: `${base}/sum.py`, source: { type: "http", auth: "web" } };
    expect(await valueFrom(tool, call({ script }, { credentials }))).toMatchObject({ sum: 3 });
    const python = tools.get("python");
    expect(await valueFrom(python, call({ script }, { credentials }))).toMatchObject({ sum: 3 });
    const joined = { uri: "sum.ts", source: { type: "http", endpoint: `${base}/` } };
    expect(await valueFrom(tool, call({ script: joined }))).toMatchObject({ by: "typescript" });
  });

  test("a refusal and an outage are failures of their kinds", async () => {
    const refused = await failureFrom(tool, call({ script: { uri: `${base}/sum.py` } }));
    expect(refused).toMatchObject({ kind: "auth", code: "HTTP_401" });
    expect(refused.message).toStartWith("the script cannot be loaded: HTTP 401");
    const broken = await failureFrom(tool, call({ script: { uri: `${base}/broken.py` } }));
    expect(broken).toMatchObject({ kind: "server_error", retryable: true });
  });

  test("a server that does not answer runs into the time limit of the source", async () => {
    const script = { uri: `${base}/hang.py`, source: { type: "http", timeout: 0.05 } };
    expect(await failureFrom(tool, call({ script }))).toMatchObject({ kind: "timeout" });
  });

  test("a cancelled task stops loading", async () => {
    const stop = new AbortController();
    stop.abort();
    const script = { uri: `${base}/hang.py` };
    const { outcome } = await run(tool, call({ script }, { signal: stop.signal }));
    expect(outcome).toMatchObject({ ok: false, failure: { kind: "cancelled" } });
  });
});

describe("s3", () => {
  const auth = { type: "s3", data: s3.credential };

  test("reads an object by a signed request", async () => {
    const script = { type: "s3", uri: "s3://code/jobs/sum.py", auth: "store" };
    const value = await valueFrom(tool, call({ script }, { credentials: { store: auth } }));
    expect(value).toMatchObject({ sum: 3 });
    expect(s3.seen).toContain("GET /code/jobs/sum.py");
  });

  test("an absent object, a wrong key and no key are told apart", async () => {
    const wrong = { type: "s3", data: { ...s3.credential, secret_access_key: "wrong-secret" } };
    const credentials = { store: auth, wrong };
    const problem = (script: JsonObject) => failureFrom(tool, call({ script }, { credentials }));
    expect(await problem({ uri: "s3://code/no.py", auth: "store" })).toMatchObject({
      kind: "not_found",
    });
    expect(await problem({ uri: "s3://code/jobs/sum.py", auth: "wrong" })).toMatchObject({
      kind: "auth",
      code: "SignatureDoesNotMatch",
    });
    expect(await problem({ uri: "s3://code/jobs/sum.py" })).toMatchObject({
      code: "S3_CREDENTIAL_MISSING",
    });
  });
});

describe("bad input", () => {
  test("says what is missing and what is not supported", () => {
    const problems = (config: JsonObject) => problemsOf(tool, config);
    expect(problems({})).toEqual(["script needs a script"]);
    expect(problems({ script: { type: "gcs", uri: "gs://b/k.py" } })[0]).toContain("type s3");
    expect(problems({ script: { type: "ftp", uri: "x.py" } })[0]).toContain("not supported");
    expect(problems({ script: { uri: "s3://bucket" } })[0]).toContain("s3://BUCKET/KEY");
    expect(problems({ script: { uri: "a.rb" } })[0]).toContain('"rb" is none of them');
    expect(problems({ code: "x", job: { image: "python" } })[0]).toContain("Kubernetes job");
    expect(problems({ code: "x", language: "python" })).toEqual([]);
  });
});
