import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { EmbeddedNats } from "../../../src/embedded/nats.ts";
import { PIPELINE_START } from "../../../src/engine/command.ts";
import { secretsTool } from "../../../src/tools/secrets.ts";
import { startNats } from "../../support/nats.ts";
import { failureFrom, problemsOf, valueFrom } from "../tools/call.ts";
import { resultOf, TestPlatform, task, testTool } from "./platform.ts";

const credentials = { db: { type: "postgres", data: { host: "h", password: "s3cret-value" } } };

describe("secrets", () => {
  test("gives a credential whole, some of its fields, or one", async () => {
    const value = (config: { readonly [key: string]: string | string[] }) =>
      valueFrom(secretsTool, { config, credentials });
    expect(await value({ auth: "db" })).toEqual({
      status: "success",
      name: "db",
      type: "postgres",
      data: { host: "h", password: "s3cret-value" },
    });
    const one = { data: { password: "s3cret-value" }, value: "s3cret-value" };
    expect(await value({ credential: "db", field: "password" })).toMatchObject(one);
    expect(await value({ secret: "db", fields: ["host"] })).toMatchObject({ data: { host: "h" } });
  });

  test("says what is missing, and why a provider is not read directly", async () => {
    expect(problemsOf(secretsTool, {})).toEqual([
      "secrets needs auth, the name of a credential or keychain entry",
    ]);
    expect(problemsOf(secretsTool, { keychain: "k", provider: "vault" })[0]).toContain(
      "`keychain`",
    );
    const problem = (config: { readonly [key: string]: string }) =>
      failureFrom(secretsTool, { config, credentials });
    expect(await problem({ auth: "nothing" })).toMatchObject({ kind: "auth" });
    const missing = await problem({ auth: "db", field: "token" });
    expect(missing).toMatchObject({ kind: "not_found", code: "SECRET_FIELD_MISSING" });
    expect(missing.message).toContain("it has host, password");
  });
});

describe("in a pipeline", () => {
  let nats: EmbeddedNats;
  let platform: TestPlatform;
  beforeAll(async () => {
    nats = await startNats();
    platform = await TestPlatform.start(nats.url, "secrets");
    const get = (kind: string) =>
      [secretsTool, testTool].find(({ description }) => description.kind === kind);
    platform.runWorker({ tools: { kinds: ["secrets", "test"], get } });
  });
  afterAll(async () => {
    await platform[Symbol.asyncDispose]();
    await nats.stop();
  });

  test("the next task has the value; the report and the log have it masked", async () => {
    const id = await platform.queue([
      { ...task("key", { auth: "db", field: "password" }), kind: "secrets" },
      task("say", { do: "log", text: "it is {{ key.value }}" }),
      task("use", { do: "give", value: { length: "{{ key.value | length }}" } }),
    ]);
    const value = resultOf(await platform.outcome(id));
    expect(value).toMatchObject({ use: { length: "s3cret-value".length } });
    expect(JSON.stringify(platform.reports)).toContain("***");
    expect(JSON.stringify([platform.reports, platform.lines])).not.toContain("s3cret-value");
  });

  test("a run that comes back later has it again, and what set took from it; it was never written down", async () => {
    const set = [
      { target: "token", value: "{{ output.value }}" },
      { target: "ctx.token", value: "{{ output.value }}" },
    ];
    const key = { ...task("key", { auth: "db", field: "password" }), kind: "secrets", set };
    const first = await platform.outcome(
      await platform.queue([key, task("child", { do: "give" }, { kind: "playbook" })]),
    );
    expect(first).toMatchObject({
      status: "yielded",
      pipeline: {
        position: 1,
        results: { key: { value: "***" } },
        locals: { token: "***" },
        ctx: { token: "***" },
      },
    });
    const pipeline = first.status === "yielded" ? first.pipeline : PIPELINE_START;
    const lengths = "{{ key.value | length }} {{ token | length }} {{ ctx.token | length }}";
    const second = await platform.outcome(
      await platform.queue([key, task("use", { do: "give", value: lengths })], { pipeline }),
    );
    expect(resultOf(second)).toMatchObject({ use: "12 12 12", key: { value: "***" } });
    expect(JSON.stringify(platform.reports)).not.toContain("s3cret-value");
  });

  test("a run whose secret is gone meanwhile fails, rather than going on with a mask", async () => {
    const key = { ...task("key", { auth: "gone" }), kind: "secrets" };
    const given = { status: "success", name: "gone", type: "postgres", data: { password: "***" } };
    const pipeline = { ...PIPELINE_START, position: 1, results: { key: given } };
    const id = await platform.queue([key, task("use", { do: "give" })], { pipeline });
    expect(await platform.outcome(id)).toMatchObject({
      status: "error",
      error: { kind: "auth", code: "CREDENTIAL_NOT_FOUND" },
    });
  });
});
