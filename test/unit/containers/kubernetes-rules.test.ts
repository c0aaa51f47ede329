import { expect, test } from "bun:test";
import { parseAllDocuments } from "yaml";
import { RULES } from "../../../src/containers/kubernetes/rules.ts";
import { manifestProblems } from "../../support/kubernetes-schema.ts";

const README = await Bun.file("src/containers/README.md").text();

test("the role in README.md is what a worker uses", () => {
  const text = /```yaml\n(.*?)```/s.exec(README)?.[1] ?? "";
  const [role, binding] = parseAllDocuments(text).map((document) => document.toJS() as unknown);
  expect(manifestProblems("V1Role", role)).toEqual([]);
  expect(manifestProblems("V1RoleBinding", binding)).toEqual([]);
  expect(role).toMatchObject({
    rules: RULES.map(({ group, resource, verbs }) => ({
      apiGroups: [group],
      resources: [resource],
      verbs: [...verbs],
    })),
  });
});
