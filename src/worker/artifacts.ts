/** Stored values as tools see them: the client's calls, repeated while servers are away. */
import { retry } from "../core/backoff.ts";
import type { WorkerClient } from "../rpc/client.ts";
import type { Artifacts } from "../tools/tool.ts";
import { resultRetry } from "./result-retry.ts";

export type ArtifactClient = Pick<
  WorkerClient,
  "deleteResult" | "describeResult" | "listResults" | "putResult" | "readResult"
>;

export function createArtifacts(client: ArtifactClient, signal: AbortSignal): Artifacts {
  const repeat = <T>(call: () => Promise<T>): Promise<T> => retry(call, resultRetry(signal));
  return {
    describe: (key) => repeat(() => client.describeResult(key)),
    read: (key, begin) => repeat(() => client.readResult(key, begin())),
    put: (result, open) => repeat(() => client.putResult(result, open)),
    list: (executionId, page) => repeat(() => client.listResults(executionId, page)),
    remove: (ref) => repeat(() => client.deleteResult(ref)),
  };
}
