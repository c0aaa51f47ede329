/** Tasks that share a rate limit: however they are distributed and killed, no call comes too early. */
import { eachItem, loopResults, RETRY, same } from "../playbook.ts";
import type { Sink } from "../sink.ts";
import type { Problems, Workload, World } from "../workload.ts";

const KEY = "chaos-rate";
const PER_SECOND = 2;
const BURST = 2;
const ITEMS = 4;

export function rate(sink: Sink): Workload {
  const tool = {
    kind: "http",
    url: `${sink.url}/limited/${KEY}`,
    spec: { ...RETRY, rate_limit: { key: KEY, per_second: PER_SECOND, burst: BURST } },
  };
  const workflow = [{ step: "calls", ...eachItem(`{{ range(${ITEMS}) | list }}`, ITEMS), tool }];
  let sinceMs = 0;
  return {
    name: "rate",
    weight: 1,
    playbooks: [{ path: "chaos/rate", workflow }],
    ends: ["COMPLETED"],
    prepare: () => {
      sinceMs = Date.now();
      return Promise.resolve();
    },
    verify: ({ results }) => same("calls", loopResults(results["calls"]).length, ITEMS),
    check: (world) => Promise.resolve(findEarly(world, sinceMs)),
  };
}

/**
 * A permit comes before its call, and a frozen worker may call long after. So of each time that has
 * passed only the number of calls so far is certain: there were at least as many permits.
 */
function findEarly({ sink }: World, sinceMs: number): Problems {
  return sink
    .callTimes(KEY)
    .map((atMs, index) => ({ atMs, calls: index + 1 }))
    .filter(({ atMs, calls }) => calls > BURST + ((atMs - sinceMs) * PER_SECOND) / 1000)
    .map(({ atMs, calls }) => `${calls} calls within the first ${atMs - sinceMs} ms`)
    .slice(0, 1);
}
