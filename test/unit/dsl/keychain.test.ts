import { expect, test } from "bun:test";
import { keychainKind } from "../../../src/dsl/keychain.ts";
import { parsePlaybook } from "../../../src/dsl/parse.ts";
import { toolsNamed } from "../../support/tools.ts";

function codes(keychain: string, step: string): readonly string[] {
  const text = `apiVersion: noetl.io/v2
kind: Playbook
metadata: {path: a}
keychain: ${keychain}
workflow:
  - step: start
${step}`;
  return parsePlaybook(text, { knownTools: toolsNamed("http", "noop") }).diagnostics.map(
    ({ code, path }) => `${code} ${path}`,
  );
}

const NOOP = "    tool: {kind: noop}";

test("entries need a name of their own, a kind that exists and a scope that exists", () => {
  expect(codes("[{kind: static}]", NOOP)).toEqual(["KEYCHAIN_INVALID keychain[0]"]);
  expect(codes("[{name: a, token: x}, {name: a, token: y}]", NOOP)).toEqual([
    "KEYCHAIN_DUPLICATE keychain[1].name",
  ]);
  expect(codes("[{name: a, kind: aws, scope: world}]", NOOP)).toEqual([
    "KEYCHAIN_KIND_UNKNOWN keychain[0].kind",
    "KEYCHAIN_SCOPE_UNKNOWN keychain[0].scope",
  ]);
});

test("the kind follows from the fields where the entry does not say it", () => {
  expect(keychainKind({ provider: "vault", map: {} })).toBe("secrets");
  expect(keychainKind({ target_audience: "x" })).toBe("google_id_token");
  expect(keychainKind({ endpoint: "x" })).toBe("oauth2");
  expect(keychainKind({ credential: "x" })).toBe("credential");
  expect(keychainKind({ token: "x" })).toBe("bearer");
  expect(keychainKind({ kind: "secret_manager" })).toBe("secrets");
  expect(keychainKind({})).toBeUndefined();
});

test("reading the keychain is for tasks: elsewhere, or of an unknown alias, it is warned of", () => {
  const entry = "[{name: api, token: x}]";
  const http = (url: string) => `    tool: {kind: http, url: "${url}"}`;
  expect(codes(entry, http("http://x/{{ keychain.api.token }}"))).toEqual([]);
  expect(codes(entry, http("http://x/{{ keychain.apii.token }}"))).toEqual([
    "KEYCHAIN_UNKNOWN workflow[0].tool.url",
  ]);
  expect(codes(entry, http("http://x/{{ keychain | tojson }}"))).toEqual([
    "KEYCHAIN_WHOLE workflow[0].tool.url",
  ]);
  const routed = `${NOOP}
    set: {ctx.a: "{{ keychain.api.token }}"}
    next: {arcs: [{step: start, when: keychain.api.token == 'x'}]}`;
  expect(codes(entry, routed)).toEqual([
    'KEYCHAIN_ON_SERVER workflow[0].set["ctx.a"]',
    "KEYCHAIN_ON_SERVER workflow[0].next.arcs[0].when",
  ]);
  const written = `    tool: {kind: noop, set: {a: "{{ keychain.api.token }}"}}`;
  expect(codes(entry, written)).toEqual(["KEYCHAIN_ON_SERVER workflow[0].tool.set.a"]);
});
