import { expect, test } from "bun:test";
import { join } from "node:path";
import { makeScratchDir } from "../../support/scratch.ts";
import { createCli } from "./context.ts";

test("the example in src/testing/README.md passes", async () => {
  const text = await Bun.file("src/testing/README.md").text();
  const [playbook = "", tests = ""] = [...text.matchAll(/^```yaml\n(.*?)^```/gms)].map(
    ([, block = ""]) => block,
  );
  const dir = makeScratchDir("readme");
  await Bun.write(join(dir, "orders.yaml"), playbook);
  await Bun.write(join(dir, "orders.test.yaml"), tests);
  const { run } = createCli();
  const { reason, out } = await run("test", join(dir, "orders.yaml"));
  expect([reason, out]).toEqual(["ok", expect.stringContaining("3 passed")]);
  expect((await run("validate", dir)).reason).toBe("ok");
});
