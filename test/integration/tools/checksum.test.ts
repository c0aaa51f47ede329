/** The example of src/tools/README.md is a tool that works. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import type { ToolParts } from "../../../src/tools/tool.ts";
import { checksumModule } from "../../fixtures/tools/checksum.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { failureFrom, problemsOf, valueFrom } from "./call.ts";

const filesDir = makeScratchDir("checksum");
const [tool] = checksumModule.create({ filesDir } as ToolParts);
await Bun.write(join(filesDir, "a.txt"), "abc");

describe("the example", () => {
  test("gives what it says, and fails as it says", async () => {
    expect(await valueFrom(tool, { config: { path: "a.txt" } })).toEqual({
      sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    });
    expect(await failureFrom(tool, { config: { path: "b.txt" } })).toMatchObject({
      kind: "not_found",
      code: "FILE_UNREADABLE",
    });
    expect(problemsOf(tool, {})).toEqual(["checksum needs a path"]);
  });

  test("stops, by cancel and by timeout", async () => {
    const config = { path: "a.txt" };
    const signal = AbortSignal.abort();
    expect(await failureFrom(tool, { config, signal })).toMatchObject({ kind: "cancelled" });
    const late = AbortSignal.abort(new DOMException("late", "TimeoutError"));
    expect(await failureFrom(tool, { config, signal: late })).toMatchObject({ kind: "timeout" });
  });

  test("is known to the parser by its description alone", () => {
    const text = (task: string) =>
      `apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {path: a}\nworkflow: [{step: a, tool: ${task}}]`;
    const knownTools = new Map(checksumModule.descriptions.map((each) => [each.kind, each]));
    const codes = (task: string) =>
      parsePlaybook(text(task), { knownTools }).diagnostics.map(({ code }) => code);
    expect(codes("{kind: checksum, path: x}")).toEqual([]);
    expect(codes("{kind: checksum, pat: x}")).toEqual(["TOOL_FIELD_MISSING", "FIELD_UNKNOWN"]);
    expect(codes("{kind: checksum, path: [x]}")).toEqual(["TOOL_FIELD_INVALID"]);
  });
});
