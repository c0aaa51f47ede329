/** Following a container, where the runtime itself is too quick to show it: the runtime is made up. */
import { expect, test } from "bun:test";
import type { ContainerEnd, ContainerRuntime } from "../../../../src/containers/runtime.ts";
import { sleep } from "../../../../src/core/clock.ts";
import type { FollowOptions } from "../../../../src/tools/container/follow.ts";
import { followContainer } from "../../../../src/tools/container/follow.ts";

const END: ContainerEnd = {
  exitCode: 0,
  startedAtMs: 0,
  endedAtMs: 1,
  imageDigest: "",
};
const LINES = 20;
const LINE_MS = 10;
const DRAIN_MS = 100;

/** One that has ended, with output that takes longer to read than the runtime may be silent. */
function talkative(): Pick<ContainerRuntime, "logs" | "stop" | "wait"> {
  return {
    wait: () => Promise.resolve(END),
    stop: () => Promise.resolve(),
    logs: async (_handle, { signal }, onLine) => {
      for (let count = 1; count <= LINES && !signal.aborted; count++) {
        await sleep(LINE_MS, signal);
        onLine("stdout", String(count), 0);
      }
    },
  };
}

function follow(lines: string[], signal: AbortSignal) {
  return followContainer({
    runtime: talkative() as ContainerRuntime,
    handle: { id: "1", name: "one" },
    context: {
      command: { executionId: "1", commandId: "1", attempt: 1 },
      log: () => undefined,
      signal,
    },
    timeouts: { stopGraceMs: 0 } as FollowOptions["timeouts"],
    say: (text) => lines.push(text),
    onLine: (_stream, line) => lines.push(line),
    drainMs: DRAIN_MS,
  });
}

test("output is read to its last line, which may be the result, however long it takes", async () => {
  const lines: string[] = [];
  const followed = await follow(lines, new AbortController().signal);
  expect(followed).toEqual({ end: END, stopped: undefined });
  expect(lines.at(-1)).toBe(String(LINES));
});

test("a task that is stopped while its output is read has no result", async () => {
  const lines: string[] = [];
  const stop = new AbortController();
  const following = follow(lines, stop.signal);
  await sleep(LINE_MS);
  stop.abort("cancelled");
  expect(await following).toMatchObject({ end: END, stopped: { kind: "cancelled" } });
  expect(lines).toContain("the end of its output did not come in time and is left out");
  expect(lines).not.toContain(String(LINES));
});
