import { expect, test } from "bun:test";
import { describeFiles } from "../../../src/rpc/descriptor.ts";

test("describeFiles() names services and messages of the generated descriptors", async () => {
  const bytes = await Bun.file("src/rpc/generated/noetl.binpb").bytes();
  const files = describeFiles(bytes);
  const worker = files.find(({ name }) => name === "noetl/v1/worker.proto");
  expect(worker?.services).toEqual(["noetl.v1.WorkerService"]);
  expect(worker?.symbols).toContain("noetl.v1.ClaimRequest");
  expect(files.flatMap(({ services }) => services)).toContain("grpc.health.v1.Health");
});
