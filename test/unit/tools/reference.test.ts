import { expect, test } from "bun:test";
import { join } from "node:path";
import { withTools } from "./reference.ts";

const ROOT = join(import.meta.dir, "../../..");

test("src/tools/README.md is current: else run `bun run docs`", async () => {
  const text = await Bun.file(join(ROOT, "src/tools/README.md")).text();
  const example = await Bun.file(join(ROOT, "test/fixtures/tools/checksum.ts")).text();
  expect(withTools(text, example)).toBe(text);
});
