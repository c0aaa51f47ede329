import { describe, expect, test } from "bun:test";
import { decodeNotification, encodeNotification } from "../../../src/bus/notification.ts";
import type { CommandId, ExecutionId } from "../../../src/core/ids.ts";

const NOTIFICATION = {
  executionId: "321321321321321321" as ExecutionId,
  commandId: "9007199254740993" as CommandId,
  eventId: "7",
  step: "load",
  attempt: 2,
};

describe("notification", () => {
  test("comes back as it was sent", () => {
    expect(decodeNotification(encodeNotification(NOTIFICATION, "http://x"))).toEqual(NOTIFICATION);
  });

  test("is spelled as the public project spells it", () => {
    expect(JSON.parse(encodeNotification(NOTIFICATION, "http://x"))).toEqual({
      execution_id: "321321321321321321",
      event_id: "7",
      command_id: "9007199254740993",
      step: "load",
      attempt: 2,
      server_url: "http://x",
    });
  });

  test("carries the trace, if there is one", () => {
    const traced = { ...NOTIFICATION, trace: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` };
    const text = encodeNotification(traced);
    expect(decodeNotification(text)).toEqual(traced);
    expect(JSON.parse(text)).toMatchObject({ traceparent: traced.trace });
    expect(decodeNotification(text.replace(/"traceparent":"[^"]*"/, '"traceparent":5'))).toEqual(
      NOTIFICATION,
    );
  });

  test("keeps all digits of ids sent as numbers", () => {
    const text = encodeNotification(NOTIFICATION).replace('"9007199254740993"', "9007199254740993");
    expect(decodeNotification(text)?.commandId).toBe(NOTIFICATION.commandId);
  });

  test("is undefined for anything else", () => {
    const texts = [
      "",
      "not json",
      "[]",
      "null",
      "{}",
      '{"execution_id":"1","command_id":"2"}',
      '{"execution_id":"1","command_id":"2","attempt":0}',
      '{"execution_id":"1","command_id":"x","attempt":1}',
    ];
    expect(texts.map(decodeNotification)).toEqual(texts.map(() => undefined));
  });
});
