import { expect, test } from "bun:test";
import type { LogLine } from "../../../src/engine/command.ts";
import { BEGIN_MS, COMMAND, createBackend, createTestServer, sampleEvents } from "./backend.ts";

interface Message {
  readonly id: string | undefined;
  readonly event: string | undefined;
  readonly data: { readonly event_type?: string; readonly status?: string; readonly text?: string };
}

function parseStream(text: string): readonly Message[] {
  return text.split("\n\n").flatMap((block) => {
    const field = (name: string) =>
      block
        .split("\n")
        .find((line) => line.startsWith(`${name}: `))
        ?.slice(name.length + 2);
    const data = field("data");
    return data === undefined
      ? []
      : [{ id: field("id"), event: field("event"), data: JSON.parse(data) }];
  });
}

const types = (messages: readonly Message[]) =>
  messages.map((each) => each.data.event_type ?? each.event);

test("the stream gives all events of a finished execution and ends", async () => {
  const backend = createBackend();
  backend.add("12");
  backend.record("12", ...sampleEvents());
  const { call } = createTestServer(backend);
  const { headers, text } = await call("GET", "/api/executions/12/events/stream");
  expect(headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  const messages = parseStream(text);
  expect(types(messages)).toEqual([
    "playbook.started",
    "step.enter",
    "command.issued",
    "command.claimed",
    "command.started",
    "call.done",
    "command.completed",
    "step.exit",
    "playbook.completed",
    "end",
  ]);
  expect(messages.at(-1)?.data.status).toBe("COMPLETED");
});

test("Last-Event-ID goes on behind that position, with whole groups", async () => {
  const backend = createBackend();
  backend.add("12");
  backend.record("12", ...sampleEvents());
  const { call } = createTestServer(backend);
  const path = "/api/executions/12/events/stream";
  const resume = async (id: string) =>
    types(parseStream((await call("GET", path, undefined, { "last-event-id": id })).text));
  expect((await resume("3"))[0]).toBe("command.claimed");
  expect(await resume("5")).toEqual(["playbook.completed", "end"]);
  expect(await resume("6")).toEqual(["end"]);
  expect((await resume("junk"))[0]).toBe("playbook.started");
});

test("events arrive while the execution runs, and comments while nothing happens", async () => {
  const backend = createBackend();
  backend.add("12");
  const [started, ...rest] = sampleEvents();
  backend.record("12", ...(started === undefined ? [] : [started]));
  const { server } = createTestServer(backend, { heartbeatMs: 5 });
  const response = await server.handle(
    new Request("http://localhost/api/executions/12/events/stream"),
  );
  const seen: string[] = [];
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    const text = decoder.decode(chunk);
    seen.push(text);
    if (text.includes("still here") && backend.orchestrator && rest.length > 0) {
      backend.record("12", ...rest.splice(0));
    }
  }
  expect(seen.join("")).toContain(": still here");
  expect(types(parseStream(seen.join(""))).at(-1)).toBe("end");
});

test("stop() ends live streams", async () => {
  const backend = createBackend();
  backend.add("12");
  const { server, call } = createTestServer(backend);
  const stream = call("GET", "/api/executions/12/events/stream");
  await server.stop();
  expect(parseStream((await stream).text)).toEqual([]);
});

test("logs are listed by step and streamed until the execution has ended", async () => {
  const backend = createBackend();
  const run = backend.add("12");
  const line = (step: string, text: string): LogLine => ({
    executionId: run.row.executionId,
    commandId: COMMAND,
    attempt: 1,
    step,
    task: step,
    stream: "stdout",
    timeMs: BEGIN_MS,
    text,
  });
  run.logs.push(line("a", "one"), line("b", "two"));
  backend.record("12", ...sampleEvents());
  const { call } = createTestServer(backend);
  const { body } = await call("GET", "/api/executions/12/logs?step=b");
  expect(body.logs).toMatchObject([{ step: "b", stream: "stdout", text: "two", index: null }]);
  const messages = parseStream((await call("GET", "/api/executions/12/logs/stream")).text);
  expect(messages.map((each) => each.data.text ?? each.event)).toEqual(["one", "two", "end"]);
  expect(messages[1]?.id).toBe("2");
  const rest = await call("GET", "/api/executions/12/logs/stream?after_seq=1");
  expect(parseStream(rest.text)[0]?.data.text).toBe("two");
});

test("a stream of an unknown execution is a plain 404", async () => {
  const { call } = createTestServer(createBackend());
  expect((await call("GET", "/api/executions/9/events/stream")).body.code).toBe(
    "EXECUTION_NOT_FOUND",
  );
});
