/** All there is for the load to do. */
import type { Sink } from "./sink.ts";
import { broken } from "./workload/broken.ts";
import { chain } from "./workload/chain.ts";
import { concurrency } from "./workload/concurrency.ts";
import { cursorNats } from "./workload/cursor-nats.ts";
import { cursorPostgres } from "./workload/cursor-postgres.ts";
import { duckdb } from "./workload/duckdb.ts";
import { effects } from "./workload/effects.ts";
import { endless } from "./workload/endless.ts";
import { family } from "./workload/family.ts";
import { fan } from "./workload/fan.ts";
import { flaky } from "./workload/flaky.ts";
import { keychain } from "./workload/keychain.ts";
import { large } from "./workload/large.ts";
import { parent } from "./workload/parent.ts";
import { probe } from "./workload/probe.ts";
import { rate } from "./workload/rate.ts";
import { retry } from "./workload/retry.ts";
import { schedule } from "./workload/schedule.ts";
import { signal } from "./workload/signal.ts";
import { slow } from "./workload/slow.ts";
import { sql } from "./workload/sql.ts";
import { squares } from "./workload/squares.ts";
import { subscription } from "./workload/subscription.ts";
import { timeout } from "./workload/timeout.ts";
import { transfer } from "./workload/transfer.ts";
import { wait } from "./workload/wait.ts";
import type { Workload, World } from "./workload.ts";

/**
 * New ones for each round: some remember things.
 *
 * @param only names of those that are wanted; all by default. The one to probe with always comes.
 * @throws Error if there is none of a name.
 */
export function makeWorkloads(
  { sink, stream }: { readonly sink: Sink; readonly stream: Pick<World["stream"], "url"> },
  only: readonly string[] | undefined,
): readonly Workload[] {
  const all = [
    ...[probe(), chain(), squares(), fan(sink), flaky(sink), parent(), effects(sink), sql()],
    ...[broken(), slow(), endless(), cursorPostgres(), cursorNats(stream), wait(), signal()],
    ...[concurrency(), rate(sink), schedule(), large(), retry(sink), transfer(sink), duckdb()],
    ...[keychain(sink), timeout(), family(sink), subscription()],
  ];
  const names = all.map(({ name }) => name);
  const unknown = (only ?? []).filter((name) => !names.includes(name));
  if (unknown.length > 0) {
    throw new Error(`There is no workload ${unknown.join(", ")}; there are ${names.join(", ")}`);
  }
  return all.filter(({ name }) => only === undefined || name === "probe" || only.includes(name));
}
