/**
 * Keeps a number of executions in flight while things break, and knows of each what was promised.
 *
 * A submit carries a dedup key and is repeated until a server answers it, so an answer lost with
 * a killed server neither loses nor doubles an execution; what counts as accepted is exact.
 */
import { once } from "node:events";
import { errorMessage } from "../../../src/core/errors.ts";
import type { Random } from "./random.ts";
import type { Finding } from "./verdict.ts";
import type { Accepted, Turn, Workload, World } from "./workload.ts";

export interface LoadOptions {
  readonly world: World;
  readonly workloads: readonly Workload[];
  /** Turns at a time. */
  readonly inFlight: number;
  readonly random: Random;
  /** Makes dedup keys of different runs differ. */
  readonly name: string;
}

export interface Loaded {
  /** In order of acceptance. */
  readonly accepted: readonly Accepted[];
  /** Turns that did not get to their end. */
  readonly findings: readonly Finding[];
}

/** Begins turns until `stop` is aborted, and ends those that have begun. */
export async function runLoad(options: LoadOptions, stop: AbortSignal): Promise<Loaded> {
  const accepted: Accepted[] = [];
  const findings: Finding[] = [];
  const choices = options.workloads.flatMap((workload) =>
    Array<Workload>(workload.weight).fill(workload),
  );
  const deal = makeDeck(choices, options.random);
  let count = 0;
  const lane = async (): Promise<void> => {
    while (!stop.aborted) {
      const workload = deal();
      const turn = makeTurn(options, { workload, name: `${options.name}-${++count}`, accepted });
      try {
        await (workload.turn ?? startAndWait)(turn);
      } catch (error) {
        const text = `turn ${turn.name}: ${errorMessage(error)}`;
        findings.push({ kind: "wrong", workload: workload.name, text });
      }
    }
  };
  if (choices.length === 0) {
    await once(stop, "abort");
  } else {
    await Promise.all(Array.from({ length: options.inFlight }, lane));
  }
  return { accepted, findings };
}

/** Gives each once, in any order, before it gives one again: a short run has some of everything. */
function makeDeck<Card>(cards: readonly Card[], random: Random): () => Card {
  let left: Card[] = [];
  return () => {
    left = left.length === 0 ? [...cards] : left;
    const card = random.pick(left);
    left.splice(left.indexOf(card), 1);
    return card;
  };
}

async function startAndWait({ world, start }: Turn): Promise<void> {
  await world.client.ended(await start());
}

interface TurnOptions {
  readonly workload: Workload;
  readonly name: string;
  /** Grows. */
  readonly accepted: Accepted[];
}

function makeTurn(
  { world, random }: Pick<LoadOptions, "world" | "random">,
  { workload, name, accepted }: TurnOptions,
): Turn {
  let count = 0;
  return {
    world,
    name,
    random,
    start: async ({ path = `chaos/${workload.name}`, payload = {} } = {}) => {
      const dedupKey = `${name}-${++count}`;
      const executionId = await world.client.start(path, dedupKey, payload);
      accepted.push({ executionId, workload: workload.name, dedupKey, payload });
      return executionId;
    },
  };
}

/** Runs one small execution and gives the time until it is over, milliseconds. */
export async function probe({ client }: World, dedupKey: string): Promise<number> {
  const start = performance.now();
  await client.ended(await client.start("chaos/probe", dedupKey, {}));
  return performance.now() - start;
}
