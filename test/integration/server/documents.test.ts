/** Documents go in and come out over HTTP: nothing of their text is lost, changed or made up. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { startPlatform } from "./platform.ts";

const seed = Number(process.env["TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const OPTIONS = { seed, numRuns: 60 };

/** Whatever may stand in a comment: one line of any characters that are text. */
const comment = fc
  .string({ unit: "grapheme", maxLength: 30 })
  .map((text) => text.replaceAll(/[\r\n\u2028\u2029\u0085\p{Cc}\p{Cs}]/gu, " "));

const scalar = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 20 }).map((text) => JSON.stringify(text)),
  fc.bigInt({ min: -(2n ** 80n), max: 2n ** 80n }).map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.constantFrom(
    "0755",
    "1_000",
    "~",
    "yes",
    "2026-01-31",
    '"a\\tb\\u00e9\\U0001F600"',
    "'it''s'",
    "|\n      first\n\n      \ttabs\n",
    ">-\n      folded\n      text\n",
    "[1, {a: b}]",
    "{}",
  ),
);

interface Parts {
  readonly path: string;
  readonly comments: readonly string[];
  readonly values: readonly string[];
  readonly eol: string;
  readonly isMarked: boolean;
  readonly end: string;
}

const parts: fc.Arbitrary<Parts> = fc.record({
  path: fc.constantFrom("a", "tests/é", "数据/流", "a b/c.d-e_f", "x/🙂"),
  comments: fc.array(comment, { minLength: 2, maxLength: 2 }),
  values: fc.array(scalar, { maxLength: 5 }),
  eol: fc.constantFrom("\n", "\r\n"),
  isMarked: fc.boolean(),
  end: fc.constantFrom("", "\n", "\n\n# end", "\n...\n"),
});

function documentOf({ path, comments, values, eol, isMarked, end }: Parts): string {
  const lines = [
    `# ${comments[0]}`,
    "apiVersion: noetl.io/v2",
    "kind:   Playbook   ",
    `metadata: {path: ${JSON.stringify(path)}}`,
    "workload:",
    "  none:",
    ...values.map((value, index) => `  v${index}: ${value}`),
    `workflow: # ${comments[1]}`,
    '- {step: "a", tool: {kind: noop}}',
  ];
  return `${isMarked ? "\u{feff}" : ""}${lines.join("\n")}${end}`.replaceAll("\n", eol);
}

test("a document comes back byte for byte, whatever is in it", async () => {
  await using platform = await startPlatform();
  const { call } = platform;
  await fc.assert(
    fc.asyncProperty(parts, fc.boolean(), async (given, isEncoded) => {
      const content = documentOf(given);
      const sent = isEncoded ? Buffer.from(content).toString("base64") : content;
      const registered = await call("POST", "/api/catalog/register", { content: sent });
      expect(registered.body).toMatchObject({ status: "success" });
      const { path, version, catalog_id } = registered.body;
      const again = await call("POST", "/api/catalog/register", { content });
      expect(again.body).toMatchObject({ path, version, catalog_id });
      const list = await call("POST", "/api/catalog/list", { resource_type: "Playbook" });
      const [entry] = list.body.entries.filter(
        (each: { catalog_id: string }) => each.catalog_id === catalog_id,
      );
      const one = await call("POST", "/api/catalog/resource", { path, version });
      const other = await call("POST", "/api/catalog/resource", { catalog_id });
      for (const { content: kept } of [entry, one.body, other.body]) {
        expect(Buffer.from(kept).equals(Buffer.from(content))).toBe(true);
      }
      expect(one.body.path).toBe(given.path);
    }),
    OPTIONS,
  );
}, 60_000);

test.each([
  ["a comment", "# \0"],
  ["half a character", "# \ud800"],
  ["a label", 'metadata: {path: a, labels: {x: "\\0"}}'],
  ["a path", 'metadata: {path: "a\\0"}'],
  ["a key", 'workload: {"a\\0b": 1}'],
  ["half an escape", 'workload: {a: "\\ud800"}'],
])("what no database keeps is refused, in %s", async (_name, line) => {
  await using platform = await startPlatform();
  const content = `apiVersion: noetl.io/v2\nkind: Playbook\n${line}\nworkflow: [{step: a, tool: {kind: noop}}]\n`;
  const { status, body } = await platform.call("POST", "/api/catalog/register", { content });
  expect(status).toBe(422);
  expect(body.error).toContain("U+0000");
});

test("warnings are in the answer, and refuse a document that is to be strict", async () => {
  await using platform = await startPlatform();
  const content =
    "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {path: a}\nworkflow: [{step: a, nxt: b, tool: noop}]\n";
  const register = async (strict: boolean) =>
    await platform.call("POST", "/api/catalog/register", { content, strict });
  const codes = ["FIELD_UNKNOWN", "LEGACY_FORM"];
  const refused = await register(true);
  expect(refused.status).toBe(422);
  const list: readonly { readonly code: string }[] = refused.body.details.diagnostics;
  expect(list.map(({ code }) => code)).toEqual(codes);
  const accepted = await register(false);
  expect(accepted.body).toMatchObject({ status: "success", version: 1 });
  expect(accepted.body.warnings.map(({ code }: { code: string }) => code)).toEqual(codes);
});
