import { describe, expect, test } from "bun:test";
import { otherKind } from "../../../src/dsl/document.ts";
import { parseSchedule } from "../../../src/dsl/schedule.ts";
import { parseSubscription } from "../../../src/dsl/subscription.ts";

const checkCron = () => undefined;

function subscription(spec: string): string {
  return `apiVersion: noetl.io/v1
kind: Subscription
metadata: {name: orders, path: subs/orders}
spec:
${spec.replace(/^/gm, "  ")}`;
}

describe("parseSubscription()", () => {
  test("reads a document of the public project", () => {
    const { document, diagnostics } = parseSubscription(
      subscription(`source: nats
mode: pull
activation: continuous
stream: ORDERS
subject: orders.>
consumer: mine
dispatch: {playbook: p/q, execution_pool: cpu-01, batch_dispatch: true, batch_max: 50, payload_from: data}
dedup: {enabled: true, window_secs: 60}
limits: {max_in_flight: 4, max_dispatch_per_sec: 2.5}
headers: {directives: [{header: X-Pool, controls: execution_pool}]}
spool: {mode: buffer_and_ack, backend: local_disk}`),
    );
    expect(document).toMatchObject({
      path: "subs/orders",
      isEnabled: true,
      source: { kind: "nats", stream: "ORDERS", subject: "orders.>", durable: "mine" },
      dispatch: { playbook: "p/q", pool: "cpu-01", isBatch: true, batchMax: 50 },
      dedup: { windowMs: 60_000 },
      limits: { maxInFlight: 4, maxDispatchPerSecond: 2.5 },
      directives: [{ header: "x-pool", controls: "execution_pool" }],
    });
    expect(diagnostics.map(({ severity, path }) => [severity, path])).toEqual([
      ["warning", "spec.spool.mode"],
    ]);
  });

  test.each([
    ["source: kafka\ndispatch: {playbook: p}", "SOURCE_UNSUPPORTED", "spec.source", 5],
    ["source: nats\ndispatch: {playbook: p}", "SUBJECT_INVALID", "spec.subject", 4],
    [
      "source: nats\nmode: push\nsubject: a\ndispatch: {playbook: p}",
      "MODE_UNSUPPORTED",
      "spec.mode",
      6,
    ],
    [
      "source: nats\nactivation: scheduled\nsubject: a\ndispatch: {playbook: p}",
      "ACTIVATION_UNSUPPORTED",
      "spec.activation",
      6,
    ],
    ["source: nats\nsubject: a\ndispatch: {}", "PLAYBOOK_MISSING", "spec.dispatch.playbook", 7],
    [
      "source: nats\nsubject: a\ndispatch: {playbook: p, batch_max: 1001}",
      "BATCH_MAX_INVALID",
      "spec.dispatch.batch_max",
      7,
    ],
    [
      "source: nats\nsubject: a\nfilter: '{{ data. }}'\ndispatch: {playbook: p}",
      "TEMPLATE_SYNTAX",
      "spec.filter",
      7,
    ],
    [
      "source: webhook\ningress: {gateway_path: a}\ndispatch: {playbook: p}",
      "VERIFY_MISSING",
      "spec.ingress.verify",
      6,
    ],
    [
      "source: webhook\ningress: {verify: {type: pubsub_oidc, credential: c}}\ndispatch: {playbook: p}",
      "VERIFY_UNSUPPORTED",
      "spec.ingress.verify.type",
      6,
    ],
    [
      "source: webhook\ningress: {path: '../x', verify: {type: bearer, credential: c}}\ndispatch: {playbook: p}",
      "HOOK_PATH_INVALID",
      "spec.ingress.path",
      6,
    ],
  ])("refuses %p", (spec, code, path, line) => {
    const { document, diagnostics } = parseSubscription(subscription(spec));
    expect(document).toBeUndefined();
    expect(diagnostics).toContainEqual(
      expect.objectContaining({ severity: "error", code, path, line }),
    );
  });

  test("says what it does not know", () => {
    const { diagnostics } = parseSubscription(
      subscription("source: nats\nsubject: a\ndispach: {}\ndispatch: {playbook: p}"),
    );
    expect(diagnostics.map(({ message }) => message)).toEqual([
      expect.stringContaining('did you mean "dispatch"'),
    ]);
  });

  test.each(["", "[]", "- 1", "kind: Subscription", "spec: [1]", "a: &a [*a, *a]", "{", "\u0000"])(
    "never throws: %p",
    (text) => {
      expect(parseSubscription(text).document).toBeUndefined();
      expect(parseSchedule(text, { checkCron }).document).toBeUndefined();
    },
  );
});

test("otherKind() looks at the root only", () => {
  expect(otherKind(subscription("source: nats"))).toBe("Subscription");
  expect(otherKind('{"kind": "Schedule", "spec": {}}')).toBe("Schedule");
  expect(otherKind("kind: Playbook\nworkload:\n  kind: Schedule\n")).toBeUndefined();
});
