import { expect, test } from "bun:test";
import { join } from "node:path";
import type { CliContext } from "../../../src/cli/context.ts";
import { createProgram } from "../../../src/cli/program.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { createCli } from "./context.ts";

const SILENT: CliContext = {
  env: {},
  signal: new AbortController().signal,
  out: () => undefined,
  note: () => undefined,
  isTerminal: false,
};

const README = await Bun.file("README.md").text();

/** Texts of the blocks of code in a language; "" for those of a terminal. */
function blocksOf(text: string, language: string): readonly string[] {
  const blocks = [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)];
  return blocks.flatMap(([, name, block = ""]) => (name === language ? [block] : []));
}

test("each whole playbook in README.md is valid", async () => {
  const playbooks = blocksOf(README, "yaml").filter((block) => block.startsWith("apiVersion"));
  expect(playbooks.length).toBeGreaterThan(1);
  const dir = makeScratchDir("readme");
  for (const [index, playbook] of playbooks.entries()) {
    await Bun.write(join(dir, `${index}.yaml`), playbook);
  }
  const { reason, out } = await createCli().run("validate", dir, "--strict");
  expect([reason, out]).toEqual(["ok", expect.stringContaining("0 errors, 0 warnings")]);
});

test("the GPU section shows deploy/examples/cuda.yaml as it is", async () => {
  expect(blocksOf(README, "yaml")).toContain(await Bun.file("deploy/examples/cuda.yaml").text());
});

test("the commands that README.md has one type are there, with these flags", () => {
  const program = createProgram(SILENT, () => undefined);
  const typed = blocksOf(README, "").flatMap((block) =>
    [...block.matchAll(/^\$ (?:.*\| )?noetl ([^#|&\n]*)/gm)].map(([, words = ""]) => words.trim()),
  );
  expect(typed.length).toBeGreaterThan(10);
  for (const words of new Set(typed)) {
    const [name = "", sub = ""] = words.split(" ");
    const command = program.commands.find((each) => each.name() === name);
    const inner = command?.commands.find((each) => each.name() === sub) ?? command;
    const flags = inner?.options.map(({ long }) => long) ?? [];
    const unknown = words.match(/(?<!\S)--[a-z-]+/g)?.filter((flag) => !flags.includes(flag)) ?? [];
    expect([words, command === undefined, unknown]).toEqual([words, false, []]);
  }
});

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
