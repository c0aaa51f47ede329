/** Both runtimes, and what the tests do with each. */
import { afterAll, beforeAll, describe } from "bun:test";
import type {
  ContainerHandle,
  ContainerRuntime,
  ContainerSpec,
} from "../../../src/containers/runtime.ts";
import { ContainerError } from "../../../src/containers/runtime.ts";
import type { TestRuntime } from "../../support/container-runtime.ts";
import { noDockerd, sharedDockerd } from "../../support/dockerd.ts";
import { noPodman, sharedPodman } from "../../support/podman.ts";

export const NEVER = new AbortController().signal;

export interface World {
  readonly test: TestRuntime;
  readonly runtime: ContainerRuntime;
  /** Starts a container that is removed with the file's tests, whatever becomes of them. */
  start(spec: ContainerSpec): Promise<ContainerHandle>;
}

/** The same tests with each runtime; skipped, and said so, where it is not. */
export function describeRuntimes(what: string, body: (world: () => World) => void): void {
  describeRuntime(`podman: ${what}`, noPodman, sharedPodman, body);
  describeRuntime(`docker: ${what}`, noDockerd, sharedDockerd, body);
}

function describeRuntime(
  what: string,
  problem: string | undefined,
  open: () => Promise<TestRuntime>,
  body: (world: () => World) => void,
): void {
  const title = problem === undefined ? what : `${what} (skipped: ${problem})`;
  describe.skipIf(problem !== undefined)(title, () => {
    let world: World | undefined;
    const started: ContainerHandle[] = [];
    beforeAll(async () => {
      const test = await open();
      const runtime = test.connect();
      const start = async (spec: ContainerSpec): Promise<ContainerHandle> => {
        started.push({ id: spec.name, name: spec.name });
        return await runtime.start(spec, NEVER);
      };
      world = { test, runtime, start };
    });
    afterAll(async () => {
      await Promise.all(started.map((handle) => world?.runtime.remove(handle)));
    });
    body(() => {
      if (world === undefined) {
        throw new Error("The runtime has not been started");
      }
      return world;
    });
  });
}

/** The error of a call that must fail. */
export async function failureOf(call: Promise<unknown>): Promise<ContainerError> {
  const outcome = await call.then(
    (value) => new Error(`It did not fail but gave ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  if (!(outcome instanceof ContainerError)) {
    throw outcome;
  }
  return outcome;
}

/** All lines of a container that ends by itself. */
export async function linesOf(
  runtime: ContainerRuntime,
  handle: ContainerHandle,
): Promise<readonly string[]> {
  const lines: string[] = [];
  await runtime.logs(handle, { signal: NEVER }, (stream, line) => {
    lines.push(`${stream} ${line}`);
  });
  return lines;
}
