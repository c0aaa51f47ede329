import { expect, test } from "bun:test";
import { generateKeyPairSync, verify } from "node:crypto";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createProviders } from "../../../src/secrets/providers.ts";
import type { Reference } from "../../../src/secrets/reference.ts";
import { fetchGoogleToken } from "../../../src/secrets/token/google.ts";
import { fetchOauth2Token } from "../../../src/secrets/token/oauth2.ts";
import { makeScratchDir } from "../../support/scratch.ts";
import { waitFor } from "../../support/wait.ts";
import { json, startRemote } from "./remote.ts";

const ref = (fields: Record<string, string>): Reference => fields as Reference;

test("env gives only the variables that the operator named", async () => {
  const { read } = createProviders({ env: { A: "secret-a", EMPTY: undefined } });
  expect(await read(ref({ provider: "env", name: "A" }))).toBe("secret-a");
  await expect(read(ref({ provider: "env", name: "HOME" }))).rejects.toMatchObject({
    kind: "forbidden",
    message: expect.stringContaining("NOETL_SECRET_ENV"),
  });
  await expect(read(ref({ provider: "env", name: "EMPTY" }))).rejects.toMatchObject({
    code: "SECRET_NOT_FOUND",
  });
});

test("file reads below its folder only, whatever links say", async () => {
  const folder = makeScratchDir("secret-files");
  const inside = join(folder, "secrets");
  await mkdir(join(inside, "..data"), { recursive: true });
  await writeFile(join(inside, "..data", "password"), "pa55 word\n");
  await writeFile(join(inside, "db.json"), '{"user":"u","password":"p"}');
  await writeFile(join(folder, "outside"), "x");
  await symlink("..data/password", join(inside, "password"));
  await symlink("../outside", join(inside, "leak"));
  const { read } = createProviders({ fileDir: inside });
  const file = (path: string) => read(ref({ provider: "file", path }));
  expect(await file("password")).toBe("pa55 word");
  expect(await file("db.json")).toEqual({ user: "u", password: "p" });
  for (const path of ["leak", "../outside", "/etc/passwd", "."]) {
    await expect(file(path), path).rejects.toMatchObject({ code: "SECRET_DENIED" });
  }
  await expect(file("missing")).rejects.toMatchObject({ code: "SECRET_NOT_FOUND" });
  await expect(createProviders({}).read(ref({ provider: "file", path: "x" }))).rejects.toThrow(
    "NOETL_SECRET_DIR",
  );
});

test("kubernetes asks the API as the pod's account, and says what it refuses", async () => {
  const accountDir = makeScratchDir("account");
  await writeFile(join(accountDir, "token"), "pod-token\n");
  await writeFile(join(accountDir, "namespace"), "apps");
  using api = startRemote({
    "/api/v1/namespaces/apps/secrets/db": ({ headers }) =>
      headers.get("authorization") === "Bearer pod-token"
        ? json({ data: { user: btoa("joe"), password: btoa("s3cret") } })
        : json({ message: "no" }, 401),
    "/api/v1/namespaces/other/secrets/db": () => json({ message: "secrets is forbidden" }, 403),
  });
  const { read } = createProviders({ kubernetes: { url: api.url, accountDir } });
  const secret = (fields: Record<string, string>) =>
    read(ref({ provider: "kubernetes", name: "db", ...fields }));
  expect(await secret({ key: "password" })).toBe("s3cret");
  expect(await secret({})).toEqual({ user: "joe", password: "s3cret" });
  await expect(secret({ key: "pasword" })).rejects.toThrow("it has user, password");
  await expect(secret({ namespace: "other" })).rejects.toMatchObject({
    kind: "forbidden",
    message: expect.stringContaining("secrets is forbidden"),
  });
  await expect(secret({ name: "none" })).rejects.toMatchObject({ kind: "not_found" });
});

test("vault reads KV version 2 with a token, or logs in as the pod and again when that ends", async () => {
  const tokenFile = join(makeScratchDir("vault"), "token");
  await writeFile(tokenFile, "pod-jwt");
  let logins = 0;
  using vault = startRemote({
    "/v1/auth/kubernetes/login": ({ body }) => {
      logins++;
      return body === '{"role":"noetl","jwt":"pod-jwt"}'
        ? json({ auth: { client_token: `login-${logins}`, lease_duration: 3600 } })
        : json({ errors: ["bad role"] }, 400);
    },
    "/v1/kv/data/apps/db": ({ headers }) => {
      const token = headers.get("x-vault-token");
      // The first login was revoked.
      return token === "root" || token === "login-2"
        ? json({ data: { data: { password: "from-vault" }, metadata: { version: 3 } } })
        : json({ errors: ["permission denied"] }, 403);
    },
  });
  const reference = ref({ provider: "vault", mount: "kv", path: "apps/db", field: "password" });
  const asPod = createProviders({
    cacheMs: 0,
    vault: {
      url: vault.url,
      login: { kind: "kubernetes", role: "noetl", mount: "kubernetes", tokenFile },
    },
  });
  await expect(asPod.read(reference)).rejects.toMatchObject({ kind: "forbidden" });
  expect(await asPod.read(reference)).toBe("from-vault");
  expect(await asPod.read(reference)).toBe("from-vault");
  expect(logins).toBe(2);
  const withToken = createProviders({
    vault: { url: vault.url, login: { kind: "token", token: "root" } },
  });
  expect(await withToken.read(reference)).toBe("from-vault");
  expect(await withToken.read(reference)).toBe("from-vault");
  expect(
    vault.requests.filter(({ headers }) => headers.get("x-vault-token") === "root"),
  ).toHaveLength(1);
  await expect(withToken.read(ref({ provider: "vault", path: "nothing" }))).rejects.toMatchObject({
    kind: "not_found",
  });
});

test("a source that is down is asked again, and then is a failure that may pass", async () => {
  let asked = 0;
  using vault = startRemote({
    "/v1/secret/data/a": () => (++asked < 3 ? json({}, 503) : json({ data: { data: { x: "1" } } })),
    "/v1/secret/data/b": () => json({}, 500),
  });
  const outcomes: string[] = [];
  const { read } = createProviders({
    vault: { url: vault.url, login: { kind: "token", token: "t" } },
    onRead: (provider, outcome) => outcomes.push(`${provider} ${outcome}`),
  });
  expect(await read(ref({ provider: "vault", path: "a" }))).toEqual({ x: "1" });
  await expect(read(ref({ provider: "vault", path: "b" }))).rejects.toMatchObject({
    isRetryable: true,
    message: "Vault answers HTTP 500 (3 tries)",
  });
  expect(outcomes).toEqual(["vault ok", "vault error"]);
});

test("an answer that does not end is not read to its end", async () => {
  let isCancelled = false;
  const endless = (): Response =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(256 * 1024)),
        cancel: () => {
          isCancelled = true;
        },
      }),
    );
  using remote = startRemote({ "/v1/secret/data/db": endless });
  const login = { kind: "token", token: "t0ken" } as const;
  const { read } = createProviders({ vault: { url: remote.url, login } });
  await expect(read(ref({ provider: "vault", path: "db" }))).rejects.toMatchObject({
    code: "SECRET_SOURCE_UNAVAILABLE",
    message: expect.stringContaining("more than 1048576 bytes"),
  });
  await waitFor("the end of the answer", () => isCancelled);
});

test("a service account signs for an access token, or for an id token with an audience", async () => {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  using google = startRemote({
    "/token": ({ body }) => {
      const form = new URLSearchParams(body);
      const [header = "", claims = "", signature = ""] = (form.get("assertion") ?? "").split(".");
      const isSigned = verify(
        "sha256",
        Buffer.from(`${header}.${claims}`),
        publicKey,
        Buffer.from(signature, "base64url"),
      );
      const asked = JSON.parse(Buffer.from(claims, "base64url").toString());
      const isFine =
        isSigned &&
        form.get("grant_type") === "urn:ietf:params:oauth:grant-type:jwt-bearer" &&
        asked.iss === "robot@project" &&
        asked.aud.endsWith("/token") &&
        asked.exp - asked.iat === 3600;
      if (!isFine) {
        return json({ error: "invalid_grant" }, 400);
      }
      return asked.target_audience === undefined
        ? json({ access_token: `for ${asked.scope}`, expires_in: 3599 })
        : json({ id_token: `h.${Buffer.from('{"exp":4102444800}').toString("base64url")}.s` });
    },
  });
  const account = {
    type: "service_account",
    project_id: "p1",
    client_email: "robot@project",
    private_key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    token_uri: `${google.url}/token`,
  };
  const access = await fetchGoogleToken({ service_account: JSON.stringify(account) }, undefined);
  expect(access.data).toMatchObject({
    token: "for https://www.googleapis.com/auth/cloud-platform",
    project_id: "p1",
  });
  expect(access.lifetimeMs).toBe(3_599_000);
  const id = await fetchGoogleToken({ ...account, target_audience: "https://run" }, undefined);
  expect(String(id.data["token"])).toStartWith("h.");
  expect(id.lifetimeMs).toBeGreaterThan(3_600_000);
  await expect(
    fetchGoogleToken({ ...account, client_email: "other" }, undefined),
  ).rejects.toMatchObject({ kind: "forbidden", message: expect.stringContaining("invalid_grant") });
  await expect(fetchGoogleToken({ ...account, private_key: "x" }, undefined)).rejects.toThrow(
    "no PEM key",
  );
});

test("a refresh token is exchanged, and the one that replaces it is kept for the next time", async () => {
  using remote = startRemote({
    "/token": ({ body, headers }) => {
      const form = new URLSearchParams(body);
      const isClient = headers.get("authorization") === `Basic ${btoa("a%20b:s%3As")}`;
      return isClient && form.get("refresh_token") === "r1"
        ? json({ access_token: "a1", refresh_token: "r2", expires_in: "60" })
        : json({ access_token: form.get("refresh_token") });
    },
  });
  const data = {
    token_url: `${remote.url}/token`,
    client_id: "a b",
    client_secret: "s:s",
    refresh_token: "r1",
    auth_style: "basic",
  };
  const first = await fetchOauth2Token(data, undefined);
  expect(first.data).toMatchObject({ token: "a1" });
  expect(first.data).not.toHaveProperty("refresh_token");
  expect(first.kept).toEqual({ refresh_token: "r2" });
  expect((await fetchOauth2Token(data, first.kept)).data).toMatchObject({ token: "r2" });
});

test("google's secret manager is read with the token of a credential", async () => {
  using google = startRemote({
    "/v1/projects/p/secrets/db/versions/latest:access": ({ headers }) =>
      headers.get("authorization") === "Bearer tok"
        ? json({ payload: { data: btoa("top") } })
        : json({ error: { message: "denied" } }, 403),
  });
  const { read } = createProviders({ gcp: { url: google.url } });
  const reference = ref({ provider: "gcp", path: "projects/p/secrets/db" });
  expect(await read(reference, () => Promise.resolve("tok"))).toBe("top");
  await expect(createProviders({}).read(reference)).rejects.toThrow("needs `auth`");
});
