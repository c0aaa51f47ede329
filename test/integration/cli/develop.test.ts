import { expect, test } from "bun:test";
import { join } from "node:path";
import { makeScratchDir } from "../../support/scratch.ts";
import { createCli } from "./context.ts";

const PLAYBOOK = `apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: etl, path: tests/etl}
workload: {day: monday}
workflow:
  - step: start
    tool: {kind: http, url: "https://api.example/{{ workload.day }}"}
    next: {arcs: [{step: shape}]}
  - step: shape
    tool:
      kind: python
      input: {items: "{{ start.data }}"}
      code: |
        print("shaping")
        result = {"total": sum(items)}
`;

const TESTS = `playbook: etl.yaml
tests:
  - name: sums what the API gives
    live: [python]
    stubs: [{step: start, http: {data: [1, 2, 3]}}]
    expect: {result: {total: 6}, visited: [start, shape]}
  - name: fails with the API
    stubs: [{step: start, http: {status: 404, data: gone}}]
    expect: {error: HTTP_404, not_visited: [shape]}
`;

async function writeFolder(files: Readonly<Record<string, string>>): Promise<string> {
  const dir = makeScratchDir("develop");
  for (const [name, text] of Object.entries(files)) {
    await Bun.write(join(dir, name), text);
  }
  return dir;
}

test("validate prints diagnostics as compilers do, counts them and ends accordingly", async () => {
  const broken = PLAYBOOK.replace("step: shape}", "step: shap}").replace("kind: http", "knd: http");
  const dir = await writeFolder({
    "a.yaml": PLAYBOOK,
    "sub/b.yml": broken,
    "a.test.yaml": "tests: 1",
  });
  const { run } = createCli();
  const bad = await run("validate", dir);
  expect(bad.reason).toBe("failed");
  const file = join(dir, "sub/b.yml");
  expect(bad.out).toContain(`${file}:8:20: error STEP_UNKNOWN`);
  expect(bad.out).toContain(
    "    8 |     next: {arcs: [{step: shap}]}\n      |                    ^",
  );
  expect(bad.out).toContain('did you mean "shape"');
  expect(bad.out).toContain(`${join(dir, "a.test.yaml")}:1:1: error FIELD_NOT_LIST`);
  expect(bad.out).toMatch(/3 documents: not valid; \d+ errors, \d+ warnings?$/);
  const json = JSON.parse((await run("validate", dir, "--json")).out);
  expect(json.map((each: { valid: boolean }) => each.valid)).toEqual([false, true, false]);
  const good = await run("validate", join(dir, "a.yaml"));
  expect([good.reason, good.out]).toEqual(["ok", "1 document: valid; 0 errors, 0 warnings"]);
});

test("validate --strict refuses warnings; two files of one path are one", async () => {
  const dir = await writeFolder({ "a.yaml": PLAYBOOK, "b.yaml": PLAYBOOK });
  const { run } = createCli();
  const lax = await run("validate", dir);
  expect([lax.reason, lax.out.match(/PATH_DUPLICATE/g)?.length]).toEqual(["ok", 2]);
  expect((await run("validate", dir, "--strict")).reason).toBe("failed");
});

test("test runs the tests beside a playbook, with real python where it may", async () => {
  const dir = await writeFolder({ "etl.yaml": PLAYBOOK, "etl.test.yaml": TESTS });
  const { run } = createCli();
  const { reason, out } = await run("test", join(dir, "etl.yaml"), "--trace");
  expect(out).toContain("✓ sums what the API gives");
  expect(out).toContain("| shaping");
  expect(out).toContain("✓ fails with the API");
  expect(out).toMatch(/2 passed in \d+/);
  expect(reason).toBe("ok");
});

test("test says what differs, and leaves a report for CI", async () => {
  const wrong = TESTS.replace("total: 6", "total: 7");
  const dir = await writeFolder({
    "etl.yaml": PLAYBOOK,
    "etl.test.yaml": wrong,
    "x.test.yaml": "a: 1",
  });
  const report = join(dir, "report.xml");
  const { run } = createCli();
  const { reason, out } = await run("test", dir, "--junit", report);
  expect(reason).toBe("failed");
  expect(out).toContain("result.total\n        expected  7\n        got       6");
  expect(out).toContain("1 passed, 1 failed, 1 file could not be read");
  const xml = await Bun.file(report).text();
  expect(xml).toContain('<failure message="result.total is not 7">');
  const json = JSON.parse((await run("test", dir, "--json", "--filter", "API GIVES")).out);
  expect(json[0].tests).toMatchObject([
    { outcome: "failed", differences: [{ path: "result.total" }] },
  ]);
});

test("test calls nothing outside that no stub answers, and shows what to write", async () => {
  const dir = await writeFolder({
    "etl.yaml": PLAYBOOK,
    "etl.test.yaml": "playbook: etl.yaml\ntests:\n  - {name: bare, expect: {}}\n",
  });
  const { reason, out } = await createCli().run("test", dir);
  expect(reason).toBe("failed");
  expect(out).toContain("Step start calls http, attempt 1, and no stub answers");
  expect(out).toContain("add a stub {step: start, result: …}, or let it run: live: [http]");
});

test("test without tests is wrong usage", async () => {
  const dir = await writeFolder({ "etl.yaml": PLAYBOOK });
  const { run } = createCli();
  const { reason, notes } = await run("test", join(dir, "etl.yaml"));
  expect(reason).toBe("usage");
  expect(notes).toContain("etl.yaml has no tests: write them in");
});

test("tools lists every kind with where it runs, and what this machine lacks", async () => {
  const { run } = createCli({ NOETL_PYTHON: "no-such-python" });
  const list = await run("tools");
  expect(list.reason).toBe("ok");
  expect(list.out).toMatch(/^http +worker +calls `url`/m);
  expect(list.out).toMatch(/^wait +server +waits for/m);
  expect(list.out).toMatch(/^python +not here +runs Python/m);
  expect(list.out).toContain("cannot run it: there is no program no-such-python in the PATH");
});

test("tools KIND shows fields, result, failures and an example; --json a schema", async () => {
  const { run } = createCli();
  const text = (await run("tools", "shell")).out;
  expect(text).toMatch(/^command, cmds, script +a text or number or a list/m);
  expect(text).toContain("It needs a command or cmds.");
  expect(text).toMatch(/^ {2}exit_code +an exit code other than 0/m);
  expect(text).toContain("  kind: shell\n");
  const view = JSON.parse((await run("tools", "shell", "--json")).out);
  expect(view).toMatchObject({ kind: "shell", schema: { required: ["kind"] } });
  const wrong = await run("tools", "shel");
  expect([wrong.reason, wrong.notes]).toEqual(["usage", expect.stringContaining('"shell"')]);
});
