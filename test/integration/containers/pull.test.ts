import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { PullOptions } from "../../../src/containers/runtime.ts";
import { trustRegistry } from "../../support/podman.ts";
import { REGISTRY_LOGIN, startRegistry } from "../../support/registry.ts";
import { describeRuntimes, failureOf, NEVER } from "./runtimes.ts";

const OPTIONS: PullOptions = { policy: "missing", signal: NEVER, onProgress: () => undefined };

describeRuntimes("a pull", (world) => {
  test("gets an image with its digest, shows progress, and is not repeated", async () => {
    const { runtime, test: place } = world();
    using registry = startRegistry();
    trustRegistry(place, registry.host);
    const image = `${registry.host}/team/busybox:1`;
    const lines: string[] = [];
    const onProgress = (line: string): void => void lines.push(line);
    const { digest } = registry;
    const first = await runtime.pull(image, { ...OPTIONS, onProgress });
    expect(first).toEqual({ digest, wasPulled: true });
    expect(lines[0]).toMatch(/^layer [01] of 1$/);
    const requestCount = registry.requests.length;
    expect(await runtime.pull(image, OPTIONS)).toEqual({ digest, wasPulled: false });
    expect(await runtime.pull(image, { ...OPTIONS, policy: "never" })).toEqual({
      digest,
      wasPulled: false,
    });
    expect(registry.requests.length).toBe(requestCount);
    expect(await runtime.pull(image, { ...OPTIONS, policy: "always" })).toEqual({
      digest,
      wasPulled: true,
    });
    expect(registry.requests.length).toBeGreaterThan(requestCount);
  });

  test("logs in, and leaves no login behind", async () => {
    const { runtime, test: place } = world();
    using registry = startRegistry({ isPrivate: true });
    trustRegistry(place, registry.host);
    const image = `${registry.host}/private/busybox:1`;
    const refused = await failureOf(runtime.pull(image, OPTIONS));
    expect(refused).toMatchObject({ kind: "image_pull", code: "IMAGE_AUTH", isRetryable: false });
    const wrong = { ...REGISTRY_LOGIN, password: "wrong" };
    const alsoRefused = await failureOf(runtime.pull(image, { ...OPTIONS, login: wrong }));
    expect(alsoRefused.code).toBe("IMAGE_AUTH");
    expect(alsoRefused.message).not.toContain("wrong");
    const { wasPulled } = await runtime.pull(image, { ...OPTIONS, login: REGISTRY_LOGIN });
    expect(wasPulled).toBe(true);
    const left = readdirSync("/dev/shm").filter((name) => name.includes(`:${process.pid}:`));
    expect(left).toEqual([]);
    const again = await failureOf(runtime.pull(image, { ...OPTIONS, policy: "always" }));
    expect(again.code).toBe("IMAGE_AUTH");
  });

  test("of an image that the registry does not have says so", async () => {
    const { runtime, test: place } = world();
    using registry = startRegistry();
    trustRegistry(place, registry.host);
    const error = await failureOf(runtime.pull(`${registry.host}/team/busybox:nosuch`, OPTIONS));
    expect(error).toMatchObject({
      kind: "image_pull",
      code: "IMAGE_NOT_FOUND",
      isRetryable: false,
    });
  });

  test("from a registry that is away may be tried again", async () => {
    const { runtime, test: place } = world();
    trustRegistry(place, "127.0.0.1:1");
    const error = await failureOf(runtime.pull("127.0.0.1:1/team/busybox:1", OPTIONS));
    expect(error).toMatchObject({
      kind: "image_pull",
      code: "REGISTRY_UNREACHABLE",
      isRetryable: true,
    });
  });

  test("that must not happen says that the image is missing", async () => {
    const { runtime } = world();
    const error = await failureOf(
      runtime.pull("localhost/nosuch:2", { ...OPTIONS, policy: "never" }),
    );
    expect(error).toMatchObject({ kind: "image_pull", code: "IMAGE_NEVER_PULLED" });
  });

  test("of a name that is none fails at once", async () => {
    const { runtime } = world();
    const error = await failureOf(runtime.pull("Not::A Name", OPTIONS));
    expect(error).toMatchObject({ code: "IMAGE_NAME_INVALID", isRetryable: false });
  });

  test("ends with its signal", async () => {
    const { runtime, test: place } = world();
    const hanging = Promise.withResolvers<void>();
    using server = {
      handle: Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => never(hanging) }),
      [Symbol.dispose](): void {
        void this.handle.stop(true);
      },
    };
    const host = `127.0.0.1:${server.handle.port}`;
    trustRegistry(place, host);
    const controller = new AbortController();
    const pulling = runtime.pull(`${host}/team/busybox:1`, {
      ...OPTIONS,
      signal: controller.signal,
    });
    await hanging.promise;
    controller.abort(new Error("too long"));
    await expect(pulling).rejects.toThrow("too long");
  });
});

/** A registry that takes a request and does not answer. */
function never(asked: PromiseWithResolvers<void>): Promise<Response> {
  asked.resolve();
  return new Promise(() => undefined);
}
