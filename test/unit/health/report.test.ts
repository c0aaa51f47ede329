/** The round of checks: side by side, each within its time, and what comes of it all together. */
import { describe, expect, test } from "bun:test";
import type { Check, HealthStatus, Problem } from "../../../src/health/finding.ts";
import { CheckFailure } from "../../../src/health/finding.ts";
import { HealthHistory } from "../../../src/health/history.ts";
import type { ComponentHealth } from "../../../src/health/report.ts";
import { overall, runChecks } from "../../../src/health/report.ts";

function checkOf(component: string, run: Check["run"]): Check {
  return { component, run };
}

async function report(checks: readonly Check[], timeoutMs = 1000) {
  const plan = { checks, unconfigured: [], begin: () => undefined, isWanted: () => true };
  return await runChecks(plan, { timeoutMs });
}

function health(component: string, status: HealthStatus): ComponentHealth {
  return {
    component,
    status,
    message: "",
    nextStep: undefined,
    problems: [],
    facts: {},
    latencyMs: 1,
  };
}

const LATE: Problem = { status: "degraded", message: "late", nextStep: "wait" };
const GONE: Problem = { status: "down", message: "gone", nextStep: "start it" };

describe("runChecks", () => {
  test("a check that hangs ends with its time, and says what it waited for", async () => {
    let wasTold = false;
    const hanging = checkOf("nats", async ({ signal, doing }) => {
      doing("NATS at box:4222");
      signal.addEventListener("abort", () => {
        wasTold = true;
      });
      return await new Promise<never>(() => undefined);
    });
    const well = checkOf("postgresql", async () => [
      { component: "postgresql", summary: "18.4", problems: [], facts: {} },
    ]);
    const { components, status } = await report([hanging, well], 30);
    expect(components.map(({ message }) => message)).toEqual([
      "No answer within 30 ms (waited for NATS at box:4222)",
      "18.4",
    ]);
    expect(status).toBe("down");
    expect(wasTold).toBe(true);
  });

  test("a check that throws says so, and the others hold", async () => {
    const broken = checkOf("vector", () => Promise.reject(new Error("no such field")));
    const failed = checkOf("nats", () => Promise.reject(new CheckFailure("refused", "start it")));
    const { components } = await report([broken, failed]);
    expect(components).toMatchObject([
      { status: "unknown", message: "The check itself failed: no such field" },
      { status: "down", message: "refused", nextStep: "start it" },
    ]);
  });

  test("the worst problem comes first", async () => {
    const check = checkOf("pool", async () => [
      { component: "pool/a", summary: "", problems: [LATE, GONE], facts: {} },
    ]);
    const { components } = await report([check]);
    expect(components).toMatchObject([{ status: "down", message: "gone", nextStep: "start it" }]);
    expect(components[0]?.problems.map(({ message }) => message)).toEqual(["gone", "late"]);
  });
});

describe("overall", () => {
  const of = (...all: readonly (readonly [string, HealthStatus])[]): HealthStatus =>
    overall(all.map(([component, status]) => health(component, status)));

  test("is down when something essential is down, all of its kind", () => {
    expect(of(["nats", "down"], ["server", "ok"])).toBe("down");
    expect(of(["server/a", "down"], ["server/b", "ok"])).toBe("degraded");
    expect(of(["server/a", "down"], ["server/b", "down"])).toBe("down");
    expect(of(["pool/a", "down"], ["pool/b", "ok"], ["nats", "ok"])).toBe("degraded");
  });

  test("is degraded when only what watches is down, unless nothing else was asked", () => {
    expect(of(["nats", "ok"], ["grafana", "down"])).toBe("degraded");
    expect(of(["grafana", "down"])).toBe("down");
  });

  test("does not count what is not configured, and knows nothing of nothing", () => {
    expect(of(["nats", "ok"], ["grafana", "not_configured"])).toBe("ok");
    expect(of(["grafana", "not_configured"])).toBe("unknown");
    expect(of(["nats", "ok"], ["pool", "unknown"])).toBe("unknown");
  });
});

test("the history knows since when a component is as it is, and what it was before", () => {
  const history = new HealthHistory();
  const at = (checkedAtMs: number, status: HealthStatus) => ({
    status,
    checkedAtMs,
    components: [health("nats", status)],
  });
  expect(history.update(at(1, "ok"))).toEqual([]);
  expect(history.update(at(2, "ok"))).toEqual([]);
  expect(history.update(at(3, "down"))).toMatchObject([{ component: "nats", from: "ok", atMs: 3 }]);
  expect(history.sinces.get("nats")).toMatchObject({ sinceMs: 3, before: "ok" });
  history.update(at(4, "down"));
  expect(history.sinces.get("nats")).toMatchObject({ sinceMs: 3, before: "ok" });
});
