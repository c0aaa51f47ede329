/** What the API, the commands and the page say of a pool with four GPUs, on a real database. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createCli } from "../cli/context.ts";
import { openPage, PAGE_IS_TESTED } from "../ui/chromium.ts";
import type { GpuWorld } from "./gpu-world.ts";
import { GPUS, idOf, REASON, seedGpuPool } from "./gpu-world.ts";
import type { Platform } from "./platform.ts";
import { startPlatform } from "./platform.ts";

let platform: Platform;
let world: GpuWorld;
let url: string;

beforeAll(async () => {
  platform = await startPlatform();
  world = await seedGpuPool(platform);
  url = await platform.listen();
}, 30_000);

afterAll(async () => {
  await platform[Symbol.asyncDispose]();
});

const get = async (path: string) => await platform.call("GET", path);

test("each GPU is listed once, with its readings, its state and who holds it since when", async () => {
  const { body } = await get("/api/gpus");
  expect([body.total, body.gpus.length]).toEqual([4, 4]);
  expect(body.gpus.map(({ state }: { state: string }) => state)).toEqual([
    "leased",
    "leased",
    "ready",
    "out_of_service",
  ]);
  expect(body.gpus[0]).toMatchObject({
    id: idOf(0),
    index: "0",
    pool: "gpu-01",
    worker: "node1",
    hostname: "node1",
    memory_mib: 81_559,
    memory_used_mib: 62_464,
    utilization_percent: 98,
    temperature_c: 71,
    power_w: 642.5,
    ecc_errors: 0,
    mig_profile: null,
    leases: [
      {
        execution_id: world.alone,
        path: "models/llm",
        step: "train",
        index: null,
        status: "running",
        is_shared: false,
        memory_mib: 81_559,
      },
    ],
  });
  const [{ since }] = body.gpus[0].leases;
  expect(Date.now() - Date.parse(since)).toBeGreaterThan(290_000);
  expect(body.gpus[1].leases).toMatchObject([{ is_shared: true, memory_mib: 20_480 }]);
  expect(body.gpus[3].reason).toContain("XID 79");
  expect(body.gpus[3].utilization_percent).toBeNull();
});

test("the list is filtered and paged; an unknown state is refused with those there are", async () => {
  expect((await get("/api/gpus?pool=cpu-01")).body).toEqual({ total: 0, gpus: [] });
  const leased = (await get("/api/gpus?pool=gpu-01&state=leased&worker=node1&limit=1")).body;
  expect([leased.total, leased.gpus.length]).toEqual([2, 1]);
  expect((await get("/api/gpus?state=leased&limit=1&offset=1")).body.gpus[0].id).toBe(idOf(1));
  const { status, body } = await get("/api/gpus?state=broken");
  expect([status, body.code]).toEqual([422, "GPU_STATE_INVALID"]);
  expect(body.error).toContain("out_of_service");
});

test("one GPU is found by its id or a beginning that only it has", async () => {
  expect((await get(`/api/gpus/${idOf(2)}`)).body).toMatchObject({ id: idOf(2), state: "ready" });
  expect((await get("/api/gpus/GPU-3f")).body.id).toBe(idOf(3));
  const ambiguous = await get("/api/gpus/GPU-");
  expect([ambiguous.status, ambiguous.body.code]).toEqual([409, "GPU_AMBIGUOUS"]);
  const missing = await get("/api/gpus/GPU-9");
  expect([missing.status, missing.body.code]).toEqual([404, "GPU_NOT_FOUND"]);
});

test("a pool has its runtimes, its GPUs by state, and what waits for some with the reason", async () => {
  const { body } = await get("/api/worker/pools?name=gpu-01");
  expect(body[0]).toMatchObject({
    gpus: { total: 4, ready: 1, leased: 2, unclean: 0, out_of_service: 1, waiting: 1 },
    runtimes: [
      { name: "podman", version: "4.3.1", is_usable: true, gpus: "cdi", workers: 1 },
      { name: "docker", is_usable: false, problem: expect.stringContaining("group docker") },
    ],
    waiting: [
      {
        execution_id: world.waiting,
        path: "models/large",
        step: "train",
        reason: REASON,
        wants: { count: 2, types: ["H100"] },
      },
    ],
  });
});

test("workers say their runtimes and how many GPUs they have; a lost one has none", async () => {
  const { body } = await get("/api/workers");
  const [before, node] = body.workers;
  expect([before.status, before.gpus.total]).toEqual(["lost", 0]);
  expect(node).toMatchObject({ runtimes: [{ name: "podman" }, { name: "docker" }] });
  expect(node.gpus).toMatchObject({ total: 4, leased: 2 });
});

test("commands of an execution have the GPUs that they hold, or why they have none", async () => {
  const { body: waiting } = await get(`/api/executions/${world.waiting}/commands`);
  expect(waiting.commands).toMatchObject([{ status: "queued", waiting_reason: REASON, gpus: [] }]);
  const { body: alone } = await get(`/api/executions/${world.alone}/commands`);
  expect(alone.commands).toMatchObject([
    { status: "running", waiting_reason: null, gpus: [{ id: idOf(0), is_shared: false }] },
  ]);
});

test("the API's document describes both routes with their answers", async () => {
  const { body } = await get("/openapi/json");
  for (const path of ["/api/gpus", "/api/gpus/{id}"]) {
    const answer = body.paths[path].get.responses["200"].content["application/json"].schema;
    expect(Object.keys(answer.properties).length).toBeGreaterThan(1);
  }
});

test("noetl gpu list shows a line for each GPU, what is wrong and what waits", async () => {
  const { run } = createCli({ NOETL_SERVER_URL: url });
  const { reason, out } = await run("gpu", "list");
  expect(reason).toBe("ok");
  const lines = out.split("\n");
  expect(lines[0]).toMatch(/^POOL +WORKER +GPU +NAME +MEMORY +UTIL +TEMP +STATE +HELD BY +SINCE$/);
  expect(lines[1]).toContain("0 GPU-0f2c0a41  H100 80GB HBM3  ██████░░ 61.0 of 79.6 GiB  98 %");
  expect(lines[1]).toContain(`leased          train of ${world.alone}`);
  expect(lines[2]).toContain(`train of ${world.sharing} (20.0 GiB)`);
  expect(lines[4]).toEndWith("out of service");
  expect(out).toContain("GPU 3 of node1 (GPU-3f2c0a41) is out of service: XID 79");
  expect(out).toMatch(new RegExp(`train of ${world.waiting} has waited for 1 min .*: waiting for`));
  const broken = await run("gpu", "list", "--state", "out_of_service", "--json");
  expect(JSON.parse(broken.out)).toMatchObject([{ id: idOf(3) }]);
  expect((await run("gpu", "list", "--pool", "cpu-01")).out).toStartWith("No GPUs.");
  expect((await run("gpu", "list", "--state", "odd")).reason).toBe("failed");
});

test("noetl gpu get shows what is known of one, and leaves out what is not", async () => {
  const { run } = createCli({ NOETL_SERVER_URL: url });
  const { out } = await run("gpu", "get", "GPU-1");
  expect(out).toStartWith(`${idOf(1)}  NVIDIA H100 80GB HBM3\n  state        leased`);
  expect(out).toContain(`train of models/embed, execution ${world.sharing}, for 5 min`);
  expect((await run("gpu", "get", "GPU-3")).out).not.toContain("utilisation");
  expect(JSON.parse((await run("gpu", "get", "GPU-1", "--json")).out).id).toBe(idOf(1));
  expect((await run("gpu", "get", "GPU-9")).notes).toContain("No worker has a GPU GPU-9");
});

test("health, workers, pools and an execution's status say the same in brief", async () => {
  const { run } = createCli({ NOETL_SERVER_URL: url });
  const health = await run("health");
  expect(health.reason).toBe("failed");
  expect(health.out).toMatch(
    /gpu-01 +node1 +podman 4\.3\.1 \(GPUs by CDI\), docker not usable +4: 1 ready, 2 leased, 1 out of service/,
  );
  expect(health.out).toContain("docker of node1: permission denied on /var/run/docker.sock: add");
  const json = JSON.parse((await run("health", "--json")).out);
  expect(json).toMatchObject({ status: "degraded", gpus: GPUS.map(({ id }) => ({ id })) });
  expect((await run("worker", "list")).out).toContain("podman 4.3.1 (GPUs by CDI)");
  expect((await run("list", "pools")).out).toContain("4: 1 ready, 2 leased, 1 out of service");
  expect((await run("status", world.waiting)).out).toEndWith(`\ntrain: ${REASON}`);
  expect((await run("status", world.alone)).out).toEndWith(
    "\ntrain runs on NVIDIA H100 80GB HBM3 (GPU-0f2c0a41)",
  );
});

test.skipIf(!PAGE_IS_TESTED)(
  "the page shows each GPU with its holder, and what waits for what",
  async () => {
    const [gpus = "", pools = "", waiting = "", alone = ""] = await Promise.all(
      ["gpus", "pools", `e/${world.waiting}`, `e/${world.alone}`].map((page) =>
        openPage(`${url}/#/${page}`),
      ),
    );
    expect(gpus).toContain("gpu-01 · 4 GPUs: 1 ready, 2 leased, 1 out of service");
    expect(gpus.match(/<article/g)).toHaveLength(4);
    expect(gpus).toContain(`<a href="#/e/${world.alone}">train</a>`);
    expect(gpus).toContain('aria-valuetext="98 %"');
    expect(gpus).toContain("XID 79");
    expect(gpus).toContain(REASON);
    expect(pools).toContain("2 of 4 GPUs");
    expect(pools).toContain("1 out of service, 1 command waiting");
    expect(waiting).toContain(REASON);
    expect(alone).toContain("runs on");
    expect(alone).toContain("NVIDIA H100 80GB HBM3 GPU-0f2c0a41");
  },
  90_000,
);
