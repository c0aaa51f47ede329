import { expect, test } from "bun:test";
import { processIdentity, processState } from "../../../src/containers/process-identity.ts";
import { waitFor } from "../../support/wait.ts";

test("a process is alive, stopped, alive again, and then dead", async () => {
  const child = Bun.spawn(["sleep", "60"]);
  try {
    const identity = processIdentity(child.pid);
    const becomes = async (state: string): Promise<string> =>
      await waitFor(state, () => processState(identity) === state && state);
    expect(await becomes("alive")).toBe("alive");
    child.kill("SIGSTOP");
    expect(await becomes("stopped")).toBe("stopped");
    child.kill("SIGCONT");
    expect(await becomes("alive")).toBe("alive");
    child.kill("SIGKILL");
    expect(await becomes("dead")).toBe("dead");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("who has the number of a process that is gone is not taken for it", () => {
  const [namespace] = processIdentity().split(":");
  expect(processState(`${namespace}:${process.pid}:1`)).toBe("dead");
});

test("nobody knows of a process of another namespace", () => {
  expect(processState("1:1:1")).toBe("unknown");
  expect(processState("none")).toBe("unknown");
});
