import { describe, expect, test } from "bun:test";
import { playbookOf, runTest } from "./document.ts";

const FETCH = playbookOf(
  `
  - step: start
    tool:
      kind: http
      url: "https://api.example/{{ workload.day }}"
      headers: {authorization: "Bearer {{ keychain.api.token }}"}
      spec:
        policy:
          rules:
            - when: "{{ output.status == 'error' and output.error.retryable }}"
              then: {do: retry, attempts: 3, backoff: exponential, delay: 60}
    next:
      arcs:
        - {step: failed, when: "{{ event.name == 'call.error' }}"}
        - {step: load, when: "{{ start.data.items | length > 0 }}"}
  - step: failed
    tool: {kind: noop}
  - step: load
    loop: {in: "{{ start.data.items }}", iterator: item, spec: {mode: parallel, max_in_flight: 2}}
    tool:
      - {name: shape, kind: python, code: "result = item", input: {item: "{{ iter.item }}"}}
      - {name: save, kind: postgres, auth: db, query: "INSERT {{ shape.double }}"}
`,
  "workload: {day: monday}",
);

describe("a stub", () => {
  test("answers tries by number; the clock jumps over their delays", async () => {
    const { seen, differences } = await runTest(
      FETCH,
      `
    stubs:
      - {step: start, attempt: 1, http: {status: 503, data: busy}}
      - {step: start, attempt: 2, error: {kind: timeout, message: too slow}, delay: 30s}
      - step: start
        config: {url: "https://api.example/monday", headers: {authorization: "Bearer <keychain.api.token>"}}
        http: {data: {items: [{n: 1}, {n: 2}]}}
      - {step: load, task: shape, template: {double: "{{ input.item.n * 2 }}"}}
      - {step: load, task: save, result: {row_count: 1}}
    expect:
      visited: [start, load]
      steps:
        start: {calls: 3, status: completed}
        load: {calls: 4, result: {stats: {succeeded: 2}}}
      calls:
        - {step: load, task: save, index: 1, config: {query: INSERT 4}, count: 1}
      that: "{{ took == 60 + 30 + 120 }}"
`,
    );
    expect(differences).toEqual([]);
    expect(seen.remarks).toEqual([]);
  });

  test("fits by input, index and times, the first one first; what answered nothing is said", async () => {
    const { seen, differences } = await runTest(
      FETCH,
      `
    stubs:
      - {step: start, result: {data: {items: [a, b, c]}}}
      - {step: load, task: shape, index: 1, error: broken}
      - {step: load, task: shape, input: {item: a}, times: 1, result: {double: 1}}
      - {kind: python, result: {double: 9}}
      - {kind: postgres, result: {}}
      - {kind: shell, result: {}}
    expect:
      error: "load[1]: broken"
      steps: {load: failed}
      calls: [{task: save, config: {query: INSERT 1}}]
`,
    );
    expect(differences).toEqual([]);
    expect(seen.remarks).toEqual([
      "the stub at line 9 answered nothing",
      "the stub at line 11 answered nothing",
    ]);
  });

  test("gives a series of answers, and then no more", async () => {
    const poll = playbookOf(`
  - step: start
    tool:
      kind: http
      url: x
      spec:
        policy:
          rules:
            - {when: "{{ output.data.ready != true }}", then: {do: retry, attempts: 9, delay: 1}}
`);
    const stubs = `
    stubs: [{step: start, answers: [{http: {status: 200}}, {http: {data: {}}}, {http: {data: {ready: true}}}]}]
    expect: {steps: {start: {calls: 3}}}`;
    expect((await runTest(poll, stubs)).differences).toEqual([]);
    const short = stubs.replace(", {http: {data: {ready: true}}}", "");
    await expect(runTest(poll, short)).rejects.toThrow("it has answered 2 calls already");
  });

  test("takes longer than its task may: the task fails with a timeout", async () => {
    const slow = playbookOf("  - {step: start, tool: {kind: http, url: x, timeout: 5s}}");
    const { seen, differences } = await runTest(
      slow,
      "    stubs: [{step: start, result: 1, delay: 1m}]\n    expect: {error: {kind: timeout}}",
    );
    expect(differences).toEqual([]);
    expect(seen.tookMs).toBe(5000);
  });
});

test("a call that nothing answers stops the test, and says what would", async () => {
  const run = runTest(FETCH, "    stubs: [{step: start, visit: 2, result: 1}]\n    expect: {}");
  await expect(run).rejects.toThrow(
    /visit is 1, not 2[\s\S]*add a stub \{step: start, result: …\}/,
  );
});

test("waits end by their time, by signals or never", async () => {
  const approve = playbookOf(`
  - {step: start, tool: {kind: wait, duration: 1h}, next: [{step: ask}]}
  - {step: ask, tool: {kind: wait, signal: ok, timeout: 2d}, next: [{step: done}]}
  - {step: done, tool: {kind: noop}}`);
  const approved = await runTest(
    approve,
    "    signals: [{name: ok, payload: {by: Ada}, after: 1d}]\n    expect: {steps: {ask: {result: {payload: {by: Ada}}}}, that: '{{ took == 86400 }}'}",
  );
  expect(approved.differences).toEqual([]);
  const late = await runTest(approve, "    expect: {error: timeout, not_visited: [done]}");
  expect(late.differences).toEqual([]);
  const forever = playbookOf("  - {step: start, tool: {kind: wait, signal: go}}");
  const { seen, differences } = await runTest(forever, "    expect: {status: running}");
  expect([differences, seen.remarks]).toEqual([[], ["start waits for go at the end of the test"]]);
  const cancelled = await runTest(
    forever,
    "    cancel: {after: 5m}\n    expect: {status: CANCELLED}",
  );
  expect([cancelled.differences, cancelled.seen.tookMs]).toEqual([[], 300_000]);
});

test("sub-playbooks run from their files, or a stub stands in for them", async () => {
  const parent = playbookOf(
    "  - {step: start, tool: {kind: playbook, path: tests/sub, input: {n: 4}}}",
  );
  const child = {
    ...playbookOf(
      "  - {step: start, tool: {kind: python, code: x, input: {n: '{{ workload.n }}'}}}",
    ),
    path: "tests/sub",
  };
  const real = await runTest(
    parent,
    `
    stubs: [{step: start, playbook: tests/sub, template: {twice: "{{ n * 2 }}"}}]
    expect: {result: {twice: 8}, steps: {start: {calls: 1}}}`,
    [child],
  );
  expect(real.differences).toEqual([]);
  const stubbed = await runTest(
    parent,
    "    stubs: [{step: start, input: {n: 4}, error: no luck}]\n    expect: {error: no luck}",
  );
  expect(stubbed.differences).toEqual([]);
  await expect(runTest(parent, "    expect: {}")).rejects.toThrow(
    'name its file under "playbooks"',
  );
});

test("cursors claim what stubs give, until nothing is left", async () => {
  const cursor = playbookOf(`
  - step: start
    loop:
      iterator: row
      spec: {mode: cursor, max_in_flight: 1, frame: {max_rows: 2}}
      cursor: {kind: postgres, auth: db, claim: "UPDATE … LIMIT {{ __frame_max_rows }}"}
    tool: {kind: python, code: x, input: {id: "{{ iter.row.id }}"}}`);
  const { differences } = await runTest(
    cursor,
    `
    stubs:
      - step: start
        task: claim
        results:
          - {rows: [{id: 1}, {id: 2}], columns: [id]}
          - {rows: [{id: 3}], columns: [id]}
          - {rows: [], columns: [id]}
      - {step: start, kind: python, template: "{{ id }}"}
    expect:
      steps: {start: {result: {results: [1, 2, 3], stats: {total: 3, frames: 2}}}}
      calls: [{task: claim, config: {command: UPDATE … LIMIT 2}, count: 3}]`,
  );
  expect(differences).toEqual([]);
});

test("what is not as expected is said with its place", async () => {
  const { differences } = await runTest(
    FETCH,
    `
    stubs: [{step: start, http: {data: {items: []}}}]
    expect:
      status: failed
      result: {status_code: 201, headers: {a: b}, data: {items: ["{{ value > 1 }}"]}}
      steps: {load: {status: completed}, start: {visits: 2}}
      visited: [start, load]
      ctx: {a: 1}
      calls: [{step: start, config: {url: y}}]
      that: ["{{ result.data.items | length == 1 }}"]`,
  );
  expect(differences.map(({ path }) => path)).toEqual([
    "status",
    "result.status_code",
    "result.headers.a",
    "result.data.items",
    "visited",
    "steps.load",
    "steps.start.visits",
    "ctx.a",
    "calls[0]",
    "that[0]",
  ]);
});
