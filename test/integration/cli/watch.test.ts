import { expect, setDefaultTimeout, test } from "bun:test";
import { runCommand } from "../../../src/cli/program.ts";
import { waitFor } from "../../support/wait.ts";
import { startPlatform } from "../secrets/platform.ts";

setDefaultTimeout(60_000);

const APPROVAL = `
apiVersion: noetl.io/v2
kind: Playbook
metadata: { name: approval, path: tests/approval }
workflow:
  - step: many
    loop: { in: 20, iterator: n, spec: { mode: parallel, max_in_flight: 4 } }
    tool: { kind: noop }
    next: { arcs: [{ step: approve }] }
  - step: approve
    tool: { kind: wait, signal: approve }
`;

/** A client command: what it prints, what it notes, and how it ends. */
function noetl(url: string, ...args: readonly string[]) {
  const out: string[] = [];
  const notes: string[] = [];
  const ended = runCommand(args, {
    env: { NOETL_SERVER_URL: url },
    signal: new AbortController().signal,
    out: (text) => void out.push(text),
    note: (text) => void notes.push(text),
    isTerminal: false,
  });
  return { out, notes, ended };
}

async function startApproval(url: string): Promise<string> {
  const post = async (path: string, body: object) => {
    const answer = await fetch(`${url}${path}`, { method: "POST", body: JSON.stringify(body) });
    return (await answer.json()) as { readonly execution_id: string };
  };
  await post("/api/catalog/register", { content: APPROVAL });
  return (await post("/api/execute", { path: "tests/approval" })).execution_id;
}

test("watch shows the steps, says how to end a wait, and ends as the execution does", async () => {
  await using platform = await startPlatform();
  const url = await platform.listen();
  const id = await startApproval(url);
  const watched = noetl(url, "watch", id);
  await waitFor("the reason", () => watched.notes.length > 0);
  expect(watched.notes).toEqual([`approve waits for signal approve: noetl signal ${id} approve`]);
  expect(await noetl(url, "signal", id, "approve", "--payload", '{"by": "Ada"}').ended).toBe("ok");
  expect(await watched.ended).toBe("ok");
  const text = watched.out.join("\n");
  expect(text).toMatch(/✓ many +[\d.]+ m?s 20\/20 items/);
  expect(text).toContain("✓ approve");
  expect(text).toContain(`COMPLETED  execution ${id}`);
});

test("watch --json prints every event once, in order, and nothing else", async () => {
  await using platform = await startPlatform();
  const url = await platform.listen();
  const id = await startApproval(url);
  const watched = noetl(url, "watch", id, "--json");
  await waitFor("the wait", () => watched.out.some((line) => line.includes('"wait.started"')));
  expect(await noetl(url, "cancel", id).ended).toBe("ok");
  expect(await watched.ended).toBe("failed");
  const events = watched.out.map((line) => JSON.parse(line) as Record<string, string>);
  expect(events.at(0)?.["event_type"]).toBe("playbook.started");
  expect(events.at(-1)?.["event_type"]).toBe("playbook.cancelled");
  expect(events.filter((event) => event["event_type"] === "call.done")).toHaveLength(20);
  const positions = events.map((event) => Number(event["event_id"]));
  expect(positions).toEqual([...new Set(positions)].sort((left, right) => left - right));
});

test("watch of an execution that is not there fails at once", async () => {
  await using platform = await startPlatform();
  const watched = noetl(await platform.listen(), "watch", "12345");
  expect(await watched.ended).toBe("failed");
  expect(watched.notes.join()).toContain("No execution 12345");
});
