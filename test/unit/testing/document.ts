/** Tests of a playbook, as text to rehearsal. */
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import type { Playbook } from "../../../src/dsl/playbook.ts";
import { checkRehearsal } from "../../../src/testing/check.ts";
import type { Difference } from "../../../src/testing/compare.ts";
import { readTestFile } from "../../../src/testing/read-test.ts";
import type { Rehearsal } from "../../../src/testing/rehearsal.ts";
import { rehearse } from "../../../src/testing/rehearsal.ts";
import { KNOWN_TOOL_KINDS } from "../../../src/tools/registry.ts";

export function playbookOf(workflow: string, more = ""): Playbook {
  const text = `
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: p, path: tests/p}
${more}
workflow:
${workflow}`;
  const { playbook, diagnostics } = parsePlaybook(text, { knownTools: KNOWN_TOOL_KINDS });
  if (playbook === undefined) {
    throw new Error(diagnostics.map(({ message }) => message).join("; "));
  }
  return playbook;
}

export interface Rehearsed {
  readonly seen: Rehearsal;
  readonly differences: readonly Difference[];
}

/** @param body of the only test, YAML indented by four. */
export async function runTest(
  playbook: Playbook,
  body: string,
  children: readonly Playbook[] = [],
): Promise<Rehearsed> {
  const { file, diagnostics } = readTestFile(`playbook: p.yaml\ntests:\n  - name: it\n${body}`);
  const [test] = file?.tests ?? [];
  if (test === undefined) {
    throw new Error(diagnostics.map(({ line, message }) => `${line}: ${message}`).join("; "));
  }
  const seen = await rehearse({
    playbook,
    children: new Map(children.map((child) => [child.path, child])),
    test,
    openTools: () => {
      throw new Error("no real tools in a unit test");
    },
    signal: new AbortController().signal,
  });
  return { seen, differences: checkRehearsal(test.expect, seen) };
}
