/** `noetl up`: a server in this process, a worker process for each pool, embedded services. */
import { checkServer } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import type { Environment, Flags } from "../config/read.ts";
import { readOptions } from "../config/read.ts";
import { upOptions } from "../config/tables.ts";
import type { Logger } from "../observability/log.ts";
import type { CliContext, ExitReason } from "./context.ts";
import type { Infrastructure } from "./infrastructure.ts";
import { openInfrastructure } from "./infrastructure.ts";
import { openLogger } from "./log.ts";
import type { RunningServer } from "./server.ts";
import { startServer } from "./server.ts";
import { startWorkerProcess } from "./worker-process.ts";

export type UpValues = Values<typeof upOptions>;

export interface Platform extends AsyncDisposable {
  readonly server: RunningServer;
  readonly infrastructure: Infrastructure;
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
  await platform.server.run(context.signal);
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

/** Starts everything; disposing stops it in the reverse order: workers, server, NATS, PostgreSQL. */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { values, log, env } = options;
  await using stack = new AsyncDisposableStack();
  const infrastructure = stack.use(await openInfrastructure(values, log));
  const defaultPool = values.defaultPool ?? values.pool[0] ?? "default";
  const server = stack.use(
    await startServer({
      values: { ...values, defaultPool },
      infrastructure,
      env,
      log,
      signal: options.signal,
    }),
  );
  const workers = values.pool.map(async (pool) =>
    stack.use(
      await startWorkerProcess({
        pool,
        slots: values.slots,
        graceMs: values.graceTime,
        grpcPort: server.grpcPort,
        natsUrl: infrastructure.natsUrl,
        python: values.python,
        env,
        dataDir: infrastructure.dataDir,
        hasSharedOutput: options.hasSharedOutput,
        log,
      }),
    ),
  );
  await Promise.all(workers);
  const owned = stack.move();
  return { server, infrastructure, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
