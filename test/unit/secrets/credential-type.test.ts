import { expect, test } from "bun:test";
import {
  canonicalType,
  checkCredential,
  fieldsFrom,
  withCanonicalFields,
} from "../../../src/secrets/credential-type.ts";
import { checkReference, isReference, parseReference } from "../../../src/secrets/reference.ts";

const OK = { errors: [], warnings: [] };

test.each([
  ["postgres", { db_host: "h", db_port: 5432, db_user: "u", db_password: "p", db_name: "d" }],
  ["postgres", { dsn: "postgres://u:p@h/d" }],
  ["bearer_token", { access_token: "t" }],
  ["basic", { username: "u", password: "p" }],
  ["api_key", { key: "k", header: "X-Key" }],
  ["oauth2", { token_url: "https://x/token", client_id: "c", client_secret: "s" }],
  ["oauth2", { access_token: "static" }],
  ["nats", { nats_url: "nats://h:4222", nats_user: "u" }],
  ["snowflake", { sf_account: "a", sf_user: "u", sf_private_key: "k" }],
  ["gcs_hmac", { key_id: "k", secret: "s" }],
  ["google_oauth", { client_id: "c", client_secret: "s", refresh_token: "r" }],
  ["gcp", { service_account: { client_email: "e", private_key: "k" } }],
  ["generic", {}],
])("%s takes %o", (type, data) => {
  expect(checkCredential(type, data)).toEqual(OK);
});

test("what a type needs is asked for under all its spellings", () => {
  const { errors } = checkCredential("s3", { region: "eu" });
  expect(errors).toHaveLength(2);
  expect(errors[0]).toContain("needs access_key_id (or aws_access_key_id, access_key");
  expect(checkCredential("bearer", { token: { nested: 1 } }).errors).toEqual([
    "token must be a text",
  ]);
});

test("a database without a host is for tasks that say theirs; an unknown type is kept, with a word", () => {
  const { errors, warnings } = checkCredential("postgres", { db_user: "u", db_password: "p" });
  expect(errors).toEqual([]);
  expect(warnings[0]).toStartWith("no host (or db_host, hostname), or connection_string");
  expect(checkCredential("kafka", { any: "thing" }).warnings[0]).toContain('type "kafka"');
});

test("references stand for fields, or for all of them, and are checked themselves", () => {
  const secret = { provider: "vault", path: "apps/db", field: "password" };
  expect(checkCredential("postgres", { host: "h", password: secret })).toEqual(OK);
  expect(checkCredential("postgres", { provider: "vault", path: "apps/db" })).toEqual(OK);
  const wrong = { provider: "vault", path: "", key: "x" };
  expect(checkCredential("bearer", { token: wrong }).errors).toEqual([
    "data.token: provider vault needs path",
    "data.token: provider vault takes no key",
  ]);
  expect(isReference({ provider: "aws", path: "x" })).toBe(false);
});

test("fields are found under their type's own names too, and a text alone is the secret", () => {
  const data = withCanonicalFields("postgres", { db_host: "h", db_name: "d" });
  expect(data).toEqual({ db_host: "h", db_name: "d", host: "h", database: "d" });
  expect(withCanonicalFields("strange", { a: 1 })).toEqual({ a: 1 });
  expect(canonicalType("PostgreSQL")).toBe("postgres");
  expect(fieldsFrom("bearer", "t")).toEqual({ token: "t" });
  expect(fieldsFrom("basic", "t")).toBeUndefined();
});

test("a keychain's map writes references as texts", () => {
  const parse = (provider: Parameters<typeof parseReference>[0], text: string) => {
    const reference = parseReference(provider, text);
    expect(checkReference(reference, "x")).toEqual([]);
    return reference;
  };
  expect(parse("env", "A")).toEqual({ provider: "env", name: "A" });
  expect(parse("vault", "kv/data/apps/db#password")).toEqual({
    provider: "vault",
    mount: "kv",
    path: "apps/db",
    field: "password",
  });
  expect(parse("vault", "apps/db")).toEqual({ provider: "vault", path: "apps/db" });
  expect(parse("kubernetes", "ns/db/password")).toEqual({
    provider: "kubernetes",
    namespace: "ns",
    name: "db",
    key: "password",
  });
  expect(parse("kubernetes", "db/password")).toMatchObject({ name: "db", key: "password" });
  expect(parse("gcp", "projects/p/secrets/s")).toMatchObject({ path: "projects/p/secrets/s" });
});
