/**
 * Keeps a number of executions in flight while things break, and knows of each what was promised.
 *
 * A submit carries a dedup key and is repeated until a server answers it, so an answer lost with
 * a killed server neither loses nor doubles an execution; what counts as accepted is exact.
 */
import { sleep } from "../../../src/core/clock.ts";
import type { Api } from "../../bench/api.ts";
import { ApiError } from "../../bench/api.ts";
import type { Random } from "./random.ts";
import type { Scenario } from "./scenario.ts";

export interface Accepted {
  readonly executionId: string;
  readonly scenario: Scenario;
  readonly dedupKey: string;
}

export interface LoadOptions {
  readonly apis: readonly Api[];
  readonly scenarios: readonly Scenario[];
  readonly inFlight: number;
  readonly random: Random;
  /** Makes dedup keys of different runs differ. */
  readonly name: string;
}

const RETRY_MS = 200;
const POLL_MS = 400;
const TERMINAL = /^(COMPLETED|FAILED|CANCELLED)$/;

/** Runs until `stop` is aborted; gives every accepted execution, in order of acceptance. */
export async function runLoad(
  options: LoadOptions,
  stop: AbortSignal,
): Promise<readonly Accepted[]> {
  const accepted: Accepted[] = [];
  const choices = options.scenarios.flatMap((scenario) => Array(scenario.weight).fill(scenario));
  let count = 0;
  const lane = async (): Promise<void> => {
    while (!stop.aborted) {
      const scenario: Scenario = options.random.pick(choices);
      const dedupKey = `${options.name}-${++count}`;
      const executionId = await submit(options.apis, { scenario, dedupKey });
      accepted.push({ executionId, scenario, dedupKey });
      if (scenario.isCancelled) {
        await sleep(options.random.between(0, 1500));
        await cancel(options.apis, executionId);
      }
      await waitForEnd(options.apis, executionId, stop);
    }
  };
  await Promise.all(Array.from({ length: options.inFlight }, lane));
  return accepted;
}

function submit(
  apis: readonly Api[],
  { scenario, dedupKey }: Pick<Accepted, "scenario" | "dedupKey">,
): Promise<string> {
  return untilAnswered(apis, (api) =>
    api.execute(`chaos/${scenario.name}`, {
      dedup: { key: dedupKey, window_secs: 3600 },
    }),
  );
}

async function cancel(apis: readonly Api[], executionId: string): Promise<void> {
  await untilAnswered(apis, async (api) => {
    try {
      await api.call("POST", `/api/executions/${executionId}/cancel`, { reason: "chaos" });
    } catch (error) {
      // The answer to an earlier try was lost: it is over already.
      if (!(error instanceof ApiError) || ![409, 422].includes(error.status)) {
        throw error;
      }
    }
  });
}

/** Also ends when `stop` is aborted: the check looks again. */
async function waitForEnd(
  apis: readonly Api[],
  executionId: string,
  stop: AbortSignal,
): Promise<void> {
  for (let turn = 0; !stop.aborted; turn++) {
    const status = await apis[turn % apis.length]?.status(executionId).catch(() => "");
    if (TERMINAL.test(status ?? "")) {
      return;
    }
    await sleep(POLL_MS, stop);
  }
}

/**
 * Asks one server after another until one answers.
 *
 * @throws ApiError when the answer says that the request itself is wrong.
 */
async function untilAnswered<T>(apis: readonly Api[], ask: (api: Api) => Promise<T>): Promise<T> {
  for (let turn = 0; ; turn++) {
    const api = apis[turn % apis.length];
    if (api === undefined) {
      throw new Error("There is no server to ask");
    }
    try {
      return await ask(api);
    } catch (error) {
      if (
        error instanceof ApiError &&
        error.status >= 400 &&
        error.status < 500 &&
        error.status !== 408 &&
        error.status !== 429
      ) {
        throw error;
      }
      await sleep(RETRY_MS);
    }
  }
}

/** Submits one small execution and gives the time until it is over. */
export async function probe(
  apis: readonly Api[],
  dedupKey: string,
  scenario: Scenario,
): Promise<number> {
  const start = performance.now();
  const executionId = await submit(apis, { scenario, dedupKey });
  await waitForEnd(apis, executionId, AbortSignal.timeout(90_000));
  return performance.now() - start;
}
