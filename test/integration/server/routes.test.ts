/** Goal: NoETL's clients find what they call. Method: each route of the README's table is called once. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { ExecutionId } from "../../../src/core/ids.ts";
import { REFUSED_ROUTES } from "../../../src/server/routes/refused.ts";
import type { Platform } from "./platform.ts";
import { startPlatform } from "./platform.ts";
import type { World } from "./route-rows.ts";
import { DOCUMENT, ROWS } from "./route-rows.ts";

const README = "src/server/README.md";

let platform: Platform;
let world: World;

beforeAll(async () => {
  platform = await startPlatform();
  world = await createWorld(platform);
}, 30_000);

afterAll(async () => {
  await platform[Symbol.asyncDispose]();
});

async function createWorld({ call, orchestrator }: Platform): Promise<World> {
  const registered = await call("POST", "/api/catalog/register", { content: DOCUMENT });
  const start = async (): Promise<string> =>
    (await call("POST", "/api/execute", { path: "tests/nightly" })).body.execution_id;
  const running = await start();
  for await (const { event } of orchestrator.watch(running as ExecutionId, {
    afterSeq: 0,
    signal: AbortSignal.timeout(10_000),
  })) {
    if (event.type === "command.issued") {
      await call("POST", "/api/events", {
        execution_id: running,
        step: "start",
        event_type: "call.done",
        payload: { result: 1 },
      });
    }
    if (event.type === "wait.started") {
      break;
    }
  }
  const ended = await start();
  const { body } = await call("PUT", `/api/result/${ended}`, { name: "big", data: { big: true } });
  await call("POST", `/api/executions/${ended}/finalize`, { status: "COMPLETED" });
  return { catalogId: registered.body.catalog_id, running, ended, ref: body.ref };
}

describe("a route of NoETL", () => {
  for (const { route, call, status = 200, headers = {}, answer } of ROWS) {
    test(`${route} answers ${status} as its clients read it`, async () => {
      const [path, body] = call(world);
      const [method = "GET"] = route.split(" ");
      const given = await platform.call(method, path, body, { ...headers });
      expect([given.status, given.status === status ? "" : given.body]).toEqual([status, ""]);
      if (typeof answer === "object" && answer !== null && typeof given.body === "object") {
        expect(given.body).toMatchObject(answer);
      } else if (answer !== undefined) {
        expect(given.body).toEqual(answer);
      }
    });
  }
});

describe("a route that is refused", () => {
  for (const [pattern, instead] of Object.entries(REFUSED_ROUTES)) {
    test(`${pattern} says what to use`, async () => {
      const path = pattern.replace(":id", "1").replace("*", "x/y");
      for (const method of ["GET", "POST"]) {
        const { status, body } = await platform.call(method, path);
        expect([status, body.code, body.details]).toEqual([404, "ROUTE_UNSUPPORTED", { instead }]);
      }
    });
  }
});

test("the table of routes in src/server/README.md has exactly these", async () => {
  const text = await Bun.file(README).text();
  const rows = [...text.matchAll(/^\| `([A-Z]+ \/[^`]*)` +\| (\S.*?) +\|/gm)];
  const listed = rows.filter(([, , state]) => state !== "refused").map(([, route]) => route);
  expect(listed.toSorted()).toEqual(ROWS.map(({ route }) => route).toSorted());
  const refused = [...text.matchAll(/^\| `(\/[^`]*)` +\| refused +\|/gm)].map(([, path]) => path);
  expect(refused.toSorted()).toEqual(Object.keys(REFUSED_ROUTES).toSorted());
});

test("a list says how many there are, also past its page", async () => {
  const { call } = platform;
  const listed = await call("GET", "/api/executions?limit=1&include_total=true");
  expect(listed.body).toHaveLength(1);
  expect(Number(listed.headers.get("x-total-count"))).toBeGreaterThan(2);
  const second = await call("GET", "/api/executions?page=2&page_size=1");
  expect(second.body[0].execution_id).not.toBe(listed.body[0].execution_id);
});

test("pages of events have all of them once, in either order", async () => {
  const { call } = platform;
  const url = `/api/executions/${world.running}`;
  const whole = (await call("GET", url)).body.events.map(eventId);
  const pages = async (order: string): Promise<string[]> => {
    const ids: string[] = [];
    for (let page = 1; ; page++) {
      const { body } = await call("GET", `${url}?page=${page}&page_size=3&order=${order}`);
      ids.push(...body.events.map(eventId));
      if (!body.pagination.has_next) {
        return ids;
      }
    }
  };
  expect(await pages("asc")).toEqual(whole);
  expect((await pages("desc")).toReversed()).toEqual(whole);
  const { body } = await call("GET", `${url}?since_event_id=6&page_size=1000`);
  expect(body.events.map(eventId)).toEqual(whole.slice(whole.indexOf("6") + 1));
});

function eventId(event: { readonly event_id: string }): string {
  return event.event_id;
}

test("variables written from outside are the execution's, and those of one that ended stay", async () => {
  const { call } = platform;
  await call("POST", `/api/vars/${world.running}`, { variables: { answer: { deep: 42 } } });
  const { body } = await call("GET", `/api/vars/${world.running}/answer`);
  expect(body.var_value).toEqual({ deep: 42 });
  const events = await call("GET", `/api/executions/${world.running}?event_type=ctx.updated`);
  expect(events.body.events.at(-1)).toMatchObject({
    node_name: "playbook",
    context: { values: { answer: { deep: 42 } } },
  });
  const late = await call("POST", `/api/vars/${world.ended}`, { variables: { a: 1 } });
  expect([late.status, late.body.code]).toEqual([409, "EXECUTION_FINISHED"]);
  const none = await call("POST", "/api/vars/1", { variables: { a: 1 } });
  expect([none.status, none.body.code]).toEqual([404, "EXECUTION_NOT_FOUND"]);
});

test("ids may be numbers, however long", async () => {
  const { call } = platform;
  const started = await call("POST", "/api/execute", `{"catalog_id": ${world.catalogId}}`);
  expect([started.status, started.body.status]).toEqual([200, "started"]);
  const event = `{"execution_id": ${world.running}, "step": "no", "event_type": "call.done"}`;
  expect((await call("POST", "/api/events", event)).body.code).toBe("COMMAND_NOT_OPEN");
});

test("an archived playbook is neither listed nor started by path, until it is restored", async () => {
  const { call } = platform;
  const content = DOCUMENT.replaceAll("tests/nightly", "tests/old");
  const { catalog_id: id } = (await call("POST", "/api/catalog/register", { content })).body;
  const list = async (more = {}) =>
    (await call("POST", "/api/catalog/list", { path: "tests/old", ...more })).body.entries.length;
  const start = async () => (await call("POST", "/api/execute", { path: "tests/old" })).status;
  expect([await list(), await start()]).toEqual([1, 200]);
  expect((await call("DELETE", `/api/catalog/playbooks/${id}`)).body.count).toBe(1);
  expect([await list(), await list({ include_archived: true }), await start()]).toEqual([
    0, 1, 404,
  ]);
  expect((await call("POST", "/api/catalog/resource", { catalog_id: id })).status).toBe(200);
  await call("POST", "/api/catalog/restore", { path: "tests/old" });
  expect([await list(), await start()]).toEqual([1, 200]);
  await call("POST", "/api/catalog/delete", { path: "tests/old" });
  const again = await call("POST", "/api/catalog/register", { content });
  expect([again.body.version, await start()]).toEqual([1, 200]);
});

test("cleanup cancels what began long ago, with its reason", async () => {
  const { call, db } = platform;
  const { body } = await call("POST", "/api/execute", { path: "tests/nightly" });
  const old = "100000000000";
  await db.sql`
    INSERT INTO noetl.execution (execution_id, path, root_id, status, seq, payload)
    SELECT ${old}::bigint, path, ${old}::bigint, 'running', 0, payload
    FROM noetl.execution WHERE execution_id = ${body.execution_id}`;
  const dry = await call("POST", "/api/executions/cleanup", {
    older_than_minutes: 5,
    dry_run: true,
  });
  expect(dry.body).toMatchObject({ cancelled_count: 0, execution_ids: [old] });
  await db.sql`DELETE FROM noetl.execution WHERE execution_id = ${old}`;
});
