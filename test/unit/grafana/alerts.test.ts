/** Each alert fires and stays silent, as Prometheus' own rule engine evaluates it. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { ALERT_GROUPS, ALERTS } from "../../../grafana/source/alerts/all.ts";
import { ruleTest } from "../../../grafana/source/alerts/rule-test.ts";
import { vmalertRules } from "../../../grafana/source/alerts/vmalert.ts";
import { makeScratchDir } from "../../support/scratch.ts";

/** `apt-get install prometheus` has it. */
const hasNone = Bun.which("promtool") === null;

const RUNBOOKS = "runbooks";

async function callPromtool(...args: readonly string[]) {
  const child = Bun.spawn(["promtool", ...args], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, text: `${stdout}${stderr}` };
}

test.skipIf(hasNone)("rules are ones that Prometheus takes", async () => {
  const file = join(makeScratchDir("rules"), "noetl.yaml");
  await Bun.write(file, vmalertRules(ALERT_GROUPS, { runbooks: RUNBOOKS }));
  const { text, exitCode } = await callPromtool("check", "rules", file);
  expect([exitCode, text]).toEqual([0, expect.stringContaining(`${ALERTS.length} rules found`)]);
});

test.skipIf(hasNone)(
  "each alert fires after it has held, with its labels, and only then",
  async () => {
    const dir = makeScratchDir("rules");
    const files = await Promise.all(
      ALERTS.map(async (alert) => {
        const rules = vmalertRules([{ name: alert.name, alerts: [alert] }], { runbooks: RUNBOOKS });
        await Bun.write(join(dir, `${alert.name}.rules.yaml`), rules);
        const file = join(dir, `${alert.name}.test.yaml`);
        await Bun.write(file, ruleTest(`${alert.name}.rules.yaml`, alert));
        return file;
      }),
    );
    const { text, exitCode } = await callPromtool("test", "rules", ...files);
    expect(text).not.toContain("FAILED");
    expect(exitCode).toBe(0);
  },
  60_000,
);

test("names are used once and are names of files", () => {
  const names = ALERTS.map((alert) => alert.name);
  expect(new Set(names).size).toBe(names.length);
  expect(names.filter((name) => !/^[A-Z][A-Za-z]+$/.test(name))).toEqual([]);
});

test("each alert has one threshold, and nothing that Grafana would take for a variable", () => {
  const odd = ALERTS.filter(
    ({ above, below, expr }) =>
      (above === undefined) === (below === undefined) || expr.includes("$"),
  );
  expect(odd).toEqual([]);
});
