/** `noetl up`: a server in this process, a worker process for each pool, embedded services. */
import { checkServer } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import type { Environment, Flags } from "../config/read.ts";
import { readOptions } from "../config/read.ts";
import { upOptions } from "../config/tables.ts";
import type { Logger } from "../observability/log.ts";
import type { CliContext, ExitReason } from "./context.ts";
import { openInfrastructure } from "./infrastructure.ts";
import { openLogger } from "./log.ts";
import { startServer, untilAborted } from "./server.ts";
import { startWorkerProcess } from "./worker-process.ts";

export type UpValues = Values<typeof upOptions>;

export interface Platform extends AsyncDisposable {
  /** Of the HTTP API. */
  readonly url: string;
  /** Runs until `signal` aborts; then stops the workers and after them the server, both drained. */
  run(signal: AbortSignal): Promise<void>;
}

export async function up(context: CliContext, flags: Flags): Promise<ExitReason> {
  const values = readOptions(upOptions, { flags, env: context.env }, checkServer);
  const log = openLogger("up", values);
  await using platform = await startPlatform({
    values,
    log,
    env: context.env,
    signal: context.signal,
    hasSharedOutput: true,
  });
  await platform.run(context.signal);
  return "ok";
}

export interface PlatformOptions {
  readonly values: UpValues;
  readonly log: Logger;
  readonly env: Environment;
  /** Gives up starting. */
  readonly signal: AbortSignal;
  /** False: workers log to files in the data folder. */
  readonly hasSharedOutput: boolean;
}

/** Starts everything; disposing stops what still runs, in the reverse order. */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { values, log, env, signal } = options;
  await using stack = new AsyncDisposableStack();
  const infrastructure = stack.use(await openInfrastructure(values, log));
  const defaultPool = values.defaultPool ?? values.pool[0] ?? "default";
  const server = stack.use(
    await startServer({ values: { ...values, defaultPool }, infrastructure, env, log, signal }),
  );
  const workers = await Promise.all(
    values.pool.map(async (pool) => {
      const worker = { pool, grpcPort: server.grpcPort };
      return stack.use(await startWorkerProcess(worker, { ...options, infrastructure }));
    }),
  );
  const owned = stack.move();
  return {
    url: server.url,
    run: async (stopping) => {
      const stopServer = new AbortController();
      const serving = server.run(stopServer.signal);
      await Promise.race([serving, untilAborted(stopping)]);
      await Promise.all(workers.map((worker) => worker.stop()));
      stopServer.abort();
      await serving;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
