import { afterEach, describe, expect, test } from "bun:test";
import { credentials, Metadata, status } from "@grpc/grpc-js";
import { AppError } from "../../../src/core/errors.ts";
import type { CatalogId, CommandId, ExecutionId, WorkerId } from "../../../src/core/ids.ts";
import type { CommandReport, Directive, Heartbeat } from "../../../src/engine/command.ts";
import { createLogger } from "../../../src/observability/log.ts";
import type { RpcEvent } from "../../../src/rpc/call.ts";
import type { WorkerClient } from "../../../src/rpc/client.ts";
import { connectWorkerClient } from "../../../src/rpc/client.ts";
import { HealthClient } from "../../../src/rpc/generated/grpc/health/v1/health.ts";
import type { ServerReflectionResponse } from "../../../src/rpc/generated/grpc/reflection/v1/reflection.ts";
import { ServerReflectionClient } from "../../../src/rpc/generated/grpc/reflection/v1/reflection.ts";
import type { ExecutionEvent } from "../../../src/rpc/generated/noetl/v1/control.ts";
import { ControlServiceClient } from "../../../src/rpc/generated/noetl/v1/control.ts";
import { WorkerServiceClient } from "../../../src/rpc/generated/noetl/v1/worker.ts";
import type { ControlHandlers, WorkerHandlers } from "../../../src/rpc/handlers.ts";
import type { RpcServer, RpcServerOptions } from "../../../src/rpc/server.ts";
import { createRpcServer } from "../../../src/rpc/server.ts";
import { ResultShelf } from "../../support/results.ts";
import { waitFor } from "../../support/wait.ts";

const log = createLogger({ level: "error", format: "json", component: "test", write: () => {} });
const WORKER = "w1" as WorkerId;
const EXECUTION = "321321321321321321" as ExecutionId;
const HELD = { executionId: EXECUTION, commandId: "7" as CommandId, attempt: 1 };
const HEARTBEAT: Heartbeat = {
  workerId: WORKER,
  held: [HELD],
  freeSlots: 1,
  pullAgeMs: 0,
  eventLoopLagMs: 0,
  rssBytes: 1,
  cpuPercent: 0,
  isDraining: false,
};

const open: { stop?: () => Promise<void>; close?: () => void }[] = [];

afterEach(async () => {
  for (const item of open.splice(0).reverse()) {
    item.close?.();
    await item.stop?.();
  }
});

function refuse(): Promise<never> {
  return Promise.reject(new AppError("not_found", "NOT_HERE", "There is no such thing"));
}

/** Stands in for the orchestrator: refuses whatever a test does not define. */
function workerHandlers(handlers: Partial<WorkerHandlers>): WorkerHandlers {
  return {
    register: () =>
      Promise.resolve({
        leaseMs: 10_000,
        heartbeatIntervalMs: 2500,
        serverVersion: "t",
        platformId: "p",
      }),
    heartbeat: () => Promise.resolve([]),
    subscribeDirectives: () => () => undefined,
    claim: refuse,
    adopt: refuse,
    report: refuse,
    acquirePermits: refuse,
    appendLogs: refuse,
    resolveCredential: refuse,
    putResult: refuse,
    openResult: refuse,
    openNamedResult: refuse,
    listResults: refuse,
    removeResult: refuse,
    deregister: refuse,
    ...handlers,
  };
}

function controlHandlers(handlers: Partial<ControlHandlers>): ControlHandlers {
  return {
    registerPlaybook: refuse,
    start: refuse,
    getExecution: refuse,
    watch: () => {
      throw new AppError("not_found", "NOT_HERE", "There is no such thing");
    },
    cancel: refuse,
    signal: refuse,
    retry: refuse,
    rerun: refuse,
    listExecutions: refuse,
    ...handlers,
  };
}

interface Started {
  readonly server: RpcServer;
  readonly address: string;
}

async function startServer(
  options: {
    readonly worker?: Partial<WorkerHandlers>;
    readonly control?: Partial<ControlHandlers>;
    readonly port?: number;
  } & Partial<Omit<RpcServerOptions, "worker" | "control">> = {},
): Promise<Started> {
  const { worker = {}, control = {}, port = 0, ...rest } = options;
  const server = await createRpcServer({
    log,
    ...rest,
    worker: workerHandlers(worker),
    control: controlHandlers(control),
  });
  open.push(server);
  const bound = await server.start("127.0.0.1", port);
  return { server, address: `127.0.0.1:${bound}` };
}

function connectClient(...addresses: string[]): WorkerClient {
  const client = connectWorkerClient({ addresses });
  open.push(client);
  return client;
}

function report(): CommandReport {
  return {
    ...HELD,
    workerId: WORKER,
    startedAtMs: 1,
    outcome: { status: "ok", value: { n: "9007199254740993" }, ctx: {} },
  };
}

/** A grpc-js callback as a promise. */
function answer<T>(call: (callback: (error: Error | null, value: T) => void) => void): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  call((error, value) => (error === null ? resolve(value) : reject(error)));
  return promise;
}

describe("worker service", () => {
  test("claims and reports go through, over the stream and as single calls", async () => {
    const reports: CommandReport[] = [];
    const events: RpcEvent[] = [];
    const { address } = await startServer({
      worker: {
        claim: (_workerId, commands) =>
          Promise.resolve(commands.map(({ commandId }) => ({ commandId, status: "gone" }))),
        report: (batch) => {
          reports.push(...batch);
          return Promise.resolve(["accepted", "stale"]);
        },
      },
      onCall: (event) => events.push(event),
    });
    const client = connectClient(address);
    expect(await client.claim(WORKER, [HELD])).toEqual([
      { commandId: HELD.commandId, status: "gone" },
    ]);
    expect(await client.report(WORKER, [report(), report()])).toEqual(["accepted", "stale"]);
    expect(reports).toEqual([report(), report()]);

    const raw = new WorkerServiceClient(address, credentials.createInsecure());
    open.push(raw);
    const claimed = await answer((callback) =>
      raw.claim({ workerId: WORKER, commands: [HELD], isRepeat: false }, callback),
    );
    expect(claimed).toEqual({
      outcomes: [{ commandId: "7", outcome: { $case: "gone", value: true } }],
    });
    expect(events.map(({ method, outcome }) => `${method} ${outcome}`)).toEqual([
      "Claim ok",
      "Report ok",
      "Claim ok",
    ]);
  });

  test("errors keep their kind and code, bugs keep their message to themselves", async () => {
    const { address } = await startServer({
      worker: {
        report: () => Promise.reject(new Error("a bug")),
        claim: () => Promise.reject(new AppError("unavailable", "DATABASE_DOWN", "Try later")),
      },
    });
    const client = connectClient(address);
    const failures = await Promise.all([
      client.claim(WORKER, [HELD]).catch((error: unknown) => error),
      client.report(WORKER, [report()]).catch((error: unknown) => error),
      client.deregister(WORKER).catch((error: unknown) => error),
      client
        .claim(WORKER, [{ ...HELD, commandId: "x" as CommandId }])
        .catch((error: unknown) => error),
    ]);
    expect(failures).toMatchObject([
      { kind: "unavailable", code: "DATABASE_DOWN", message: "Try later" },
      { kind: "internal", code: "INTERNAL", message: "internal error" },
      { kind: "not_found", code: "NOT_HERE" },
      { kind: "invalid", code: "MESSAGE_INVALID" },
    ]);
  });

  test("heartbeats are answered and directives are pushed in between", async () => {
    const seen: Heartbeat[] = [];
    let push: (directives: readonly Directive[]) => void = () => undefined;
    let isSubscribed = false;
    const { address } = await startServer({
      worker: {
        heartbeat: (heartbeat) => {
          seen.push(heartbeat);
          return Promise.resolve([{ kind: "drain" }]);
        },
        subscribeDirectives: (_workerId, listener) => {
          push = listener;
          isSubscribed = true;
          return () => {
            isSubscribed = false;
          };
        },
      },
    });
    const client = connectClient(address);
    const received: [readonly Directive[], boolean][] = [];
    const stream = client.openHeartbeats({
      onDirectives: (directives, isAnswer) => received.push([directives, isAnswer]),
      onEnd: () => undefined,
    });
    stream.send(HEARTBEAT);
    await waitFor("the answer", () => received.length === 1);
    const cancel: Directive = { kind: "cancel", commandId: HELD.commandId, attempt: 1 };
    push([cancel]);
    await waitFor("the directive", () => received.length === 2);
    expect(received).toEqual([
      [[{ kind: "drain" }], true],
      [[cancel], false],
    ]);
    expect(seen).toEqual([HEARTBEAT]);
    stream.close();
    await waitFor("the end of the subscription", () => !isSubscribed);
  });

  test("a heartbeat that fails ends the stream", async () => {
    const { address } = await startServer({
      worker: { heartbeat: () => Promise.reject(new AppError("unavailable", "X", "no database")) },
    });
    const ended = Promise.withResolvers<string>();
    const stream = connectClient(address).openHeartbeats({
      onDirectives: () => undefined,
      onEnd: ended.resolve,
    });
    stream.send(HEARTBEAT);
    expect(await ended.promise).toContain("no database");
    expect(stream.send(HEARTBEAT)).toBe(false);
  });

  test("large results go both ways in chunks", async () => {
    const shelf = new ResultShelf();
    const { address } = await startServer({ worker: shelf.handlers() });
    const client = connectClient(address);
    const large = Buffer.from(JSON.stringify("ä".repeat(3_000_000)));
    const result = { executionId: EXECUTION, name: "s", step: "s", scope: "workflow" } as const;
    const info = await client.putResult(result, () => [large]);
    expect(info).toMatchObject({ name: "s", scope: "workflow", size: large.length });
    const parts: Uint8Array[] = [];
    const read = await client.readResult({ address: info.ref.$ref }, (part) => parts.push(part));
    expect(read).toEqual(info);
    expect(parts.length).toBeGreaterThan(4);
    expect(Buffer.concat(parts).equals(large)).toBe(true);
  });

  test("stored values are described, listed and deleted; a missing one is an error", async () => {
    const shelf = new ResultShelf();
    const { address } = await startServer({ worker: shelf.handlers() });
    const client = connectClient(address);
    const { ref } = shelf.add(EXECUTION, "report", "[1]");
    const named = { executionId: EXECUTION, name: "report" };
    expect(await client.describeResult(named)).toMatchObject({ ref, name: "report", size: 3 });
    expect(await client.listResults(EXECUTION, { limit: 10, offset: 0 })).toHaveLength(1);
    expect(await client.deleteResult(ref.$ref)).toBe(true);
    const gone = await client
      .readResult({ address: ref.$ref }, () => undefined)
      .catch((error: unknown) => error);
    expect(gone).toMatchObject({ kind: "not_found", code: "RESULT_NOT_FOUND" });
  });

  test("an upload that the server answers early does not fail", async () => {
    const shelf = new ResultShelf();
    const known = shelf.add(EXECUTION, "s", "[1]");
    const { address } = await startServer({
      worker: { putResult: () => Promise.resolve(known) },
    });
    const client = connectClient(address);
    const chunk = new Uint8Array(1024 * 1024);
    const result = { executionId: EXECUTION, name: "s" };
    for (let round = 0; round < 3; round++) {
      expect(await client.putResult(result, () => Array(20).fill(chunk))).toEqual(known);
    }
  });

  test("an upload that the server refuses lets go of its source", async () => {
    const { address } = await startServer({
      worker: {
        putResult: () => Promise.reject(new AppError("invalid", "RESULT_TOO_LARGE", "too large")),
      },
    });
    const client = connectClient(address);
    const closed = Promise.withResolvers<string>();
    const endless = async function* () {
      try {
        for (;;) {
          yield await Promise.resolve(new Uint8Array(1024 * 1024));
        }
      } finally {
        closed.resolve("closed");
      }
    };
    const put = client.putResult({ executionId: EXECUTION, name: "s" }, endless);
    expect(await put.catch((error: unknown) => error)).toMatchObject({ code: "RESULT_TOO_LARGE" });
    expect(await closed.promise).toBe("closed");
  });

  test("an upload whose source breaks is not stored", async () => {
    const shelf = new ResultShelf();
    const { address } = await startServer({ worker: shelf.handlers() });
    const client = connectClient(address);
    const broken = async function* () {
      yield new Uint8Array(10);
      throw await Promise.resolve(new Error("the file is gone"));
    };
    const put = await client
      .putResult({ executionId: EXECUTION, name: "s" }, broken)
      .catch((error: unknown) => error);
    expect(put).toMatchObject({ kind: "unavailable" });
    expect(shelf.stored.size).toBe(0);
  });

  test("a worker without the token is turned away", async () => {
    const { address } = await startServer({ workerToken: "right" });
    const registration = {
      workerId: WORKER,
      name: "n",
      pool: "p",
      slots: 1,
      hostname: "h",
      pid: 1,
      version: "1",
      tools: [],
      labels: {},
    };
    const wrong = connectWorkerClient({ addresses: [address], token: "wrong" });
    const right = connectWorkerClient({ addresses: [address], token: "right" });
    open.push(wrong, right);
    expect(await wrong.register(registration).catch((error: unknown) => error)).toMatchObject({
      kind: "forbidden",
      code: "UNAUTHENTICATED",
    });
    expect(await wrong.claim(WORKER, [HELD]).catch((error: unknown) => error)).toMatchObject({
      kind: "forbidden",
    });
    expect((await right.register(registration)).leaseMs).toBe(10_000);
  });

  test("the client goes on with another server, and with the first when it is back", async () => {
    const claim: WorkerHandlers["claim"] = () => Promise.resolve([]);
    const first = await startServer({ worker: { claim } });
    const second = await startServer({ worker: { claim } });
    const client = connectClient(first.address, second.address);
    await client.claim(WORKER, []);
    await first.server.stop();
    const again = () => waitFor("a claim", async () => (await client.claim(WORKER, [])) && true);
    await again();
    await startServer({ worker: { claim }, port: Number(first.address.split(":")[1]) });
    await second.server.stop();
    await again();
    expect(await client.claim(WORKER, [])).toEqual([]);
  });

  test("stop() ends open streams at once", async () => {
    const { server, address } = await startServer();
    const ended = Promise.withResolvers<string>();
    const answered = Promise.withResolvers<void>();
    const stream = connectClient(address).openHeartbeats({
      onDirectives: () => answered.resolve(),
      onEnd: ended.resolve,
    });
    stream.send(HEARTBEAT);
    await answered.promise;
    await server.stop();
    expect(await ended.promise).toBeString();
  });
});

describe("control service", () => {
  test("executes, watches, lists and maps errors", async () => {
    const summary = {
      executionId: EXECUTION,
      path: "a/b",
      version: 2,
      status: "completed",
      startedAtMs: 5,
      endedAtMs: 9,
      result: { x: 1 },
    } as const;
    const { address } = await startServer({
      control: {
        registerPlaybook: ({ content }) =>
          Promise.resolve({
            catalogId: "1" as CatalogId,
            path: content,
            version: 1,
            warnings: [],
          }),
        start: ({ payload }) =>
          Promise.resolve({
            executionId: EXECUTION,
            status: payload["again"] === true ? "duplicate" : "started",
          }),
        getExecution: () => Promise.resolve(summary),
        listExecutions: ({ limit }) => Promise.resolve(limit === 50 ? [summary] : []),
        cancel: () => Promise.resolve(),
        async *watch(_id, { afterSeq }) {
          const event = { type: "playbook.completed", result: await Promise.resolve(1) } as const;
          yield { seq: afterSeq + 1, timeMs: 3, event };
        },
      },
    });
    const client = new ControlServiceClient(address, credentials.createInsecure());
    open.push(client);
    const start = (payload: string) =>
      answer((callback) =>
        client.execute(
          {
            path: "a/b",
            version: 0,
            payload: Buffer.from(payload),
            dedupKey: "",
            executionPool: "",
            priority: undefined,
            dedupWindowSeconds: 0,
          },
          callback,
        ),
      );
    expect(await start('{"again":true}')).toEqual({ executionId: EXECUTION, status: "duplicate" });
    expect(await start("").catch((error: unknown) => error)).toMatchObject({ status: "started" });
    expect(await start("[1]").catch((error: unknown) => error)).toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
    const executions = await answer((callback) =>
      client.listExecutions({ path: "", status: "completed", limit: 0, offset: 0 }, callback),
    );
    expect(executions).toMatchObject({
      executions: [{ status: "COMPLETED", startedAtMs: "5", result: Buffer.from('{"x":1}') }],
    });
    const events: ExecutionEvent[] = [];
    for await (const event of client.watchExecution({ executionId: EXECUTION, afterSeq: "4" })) {
      events.push(event);
    }
    expect(events).toMatchObject([{ seq: "5", type: "playbook.completed", timeMs: "3" }]);
  });
});

describe("control service, operating executions", () => {
  test("signals, retries and reruns", async () => {
    const seen: unknown[] = [];
    const summary = { path: "a/b", version: 2, status: "running", startedAtMs: 5 } as const;
    const { address } = await startServer({
      control: {
        getExecution: (id) => Promise.resolve({ ...summary, executionId: id }),
        signal: (_id, sent) => {
          seen.push(sent);
          return Promise.resolve({ status: "delivered", waitCount: 2 });
        },
        retry: (id, options) => {
          seen.push(options);
          return Promise.resolve({ executionId: id });
        },
        rerun: (_id, options) => {
          seen.push(options);
          return Promise.resolve({ executionId: EXECUTION, status: "started" });
        },
      },
    });
    const client = new ControlServiceClient(address, credentials.createInsecure());
    open.push(client);
    const executionId = EXECUTION;
    const empty = Buffer.alloc(0);
    const signal = { executionId, name: "go", dedupKey: "k", sender: "me", broadcast: true };
    const payload = Buffer.from("[1]");
    expect(
      await answer((callback) => client.signalExecution({ ...signal, payload }, callback)),
    ).toEqual({ status: "delivered", waits: 2 });
    const retry = { executionId, newExecution: true, steps: ["a"], reason: "" };
    expect(await answer((callback) => client.retryExecution(retry, callback))).toMatchObject({
      executionId,
      status: "RUNNING",
    });
    const rerun = { executionId, payload: empty, dedupKey: "" };
    expect(await answer((callback) => client.rerunExecution(rerun, callback))).toEqual({
      executionId,
      status: "started",
    });
    expect(seen).toEqual([
      { name: "go", payload: [1], dedupKey: "k", sender: "me", isBroadcast: true },
      { isNew: true, steps: ["a"] },
      { payload: {} },
    ]);
  });
});

describe("standard services", () => {
  test("health says how the server and its services are, and watches", async () => {
    const { server, address } = await startServer({ workerToken: "secret" });
    const client = new HealthClient(address, credentials.createInsecure());
    open.push(client);
    const check = (service: string) => answer((callback) => client.check({ service }, callback));
    expect(await check("")).toEqual({ status: "SERVING" });
    expect(await check("noetl.v1.WorkerService")).toEqual({ status: "SERVING" });
    expect(await check("nothing").catch((error: unknown) => error)).toMatchObject({
      code: status.NOT_FOUND,
    });
    const seen: string[] = [];
    const watch = client.watch({ service: "" }, new Metadata());
    watch.on("data", (message: { status: string }) => seen.push(message.status));
    watch.on("error", () => undefined);
    await waitFor("the first status", () => seen.length === 1);
    await server.stop();
    await waitFor("the second status", () => seen.length === 2);
    expect(seen).toEqual(["SERVING", "NOT_SERVING"]);
  });

  test("metadata says whose trace a start belongs to", async () => {
    const traces: unknown[] = [];
    const { address } = await startServer({
      control: {
        start: ({ trace }) => {
          traces.push(trace);
          return Promise.resolve({ executionId: EXECUTION, status: "started" });
        },
      },
    });
    const client = new ControlServiceClient(address, credentials.createInsecure());
    open.push(client);
    const metadata = new Metadata();
    metadata.set("traceparent", "00-1-2-01");
    const request = {
      path: "a/b",
      version: 0,
      payload: Buffer.from(""),
      dedupKey: "",
      executionPool: "",
      priority: undefined,
      dedupWindowSeconds: 0,
    };
    await answer((callback) => client.execute(request, metadata, callback));
    await answer((callback) => client.execute(request, callback));
    expect(traces).toEqual(["00-1-2-01", undefined]);
  });

  test("reflection lists services and gives their descriptors", async () => {
    const { address } = await startServer();
    const client = new ServerReflectionClient(address, credentials.createInsecure());
    open.push(client);
    const stream = client.serverReflectionInfo();
    const responses: ServerReflectionResponse[] = [];
    stream.on("data", (response: ServerReflectionResponse) => responses.push(response));
    const symbol = "noetl.v1.ControlService.Execute";
    stream.write({ host: "", messageRequest: { $case: "listServices", value: "*" } });
    stream.write({ host: "", messageRequest: { $case: "fileContainingSymbol", value: symbol } });
    stream.write({ host: "", messageRequest: { $case: "fileContainingSymbol", value: "no.such" } });
    stream.end();
    await waitFor("three answers", () => responses.length === 3);
    const [services, file, none] = responses.map(({ messageResponse }) => messageResponse);
    expect(services).toMatchObject({ $case: "listServicesResponse" });
    expect(JSON.stringify(services)).toContain('"noetl.v1.WorkerService"');
    expect(file).toMatchObject({ $case: "fileDescriptorResponse" });
    expect(none).toMatchObject({ $case: "errorResponse", value: { errorCode: status.NOT_FOUND } });
  });
});
