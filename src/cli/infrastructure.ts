/** The PostgreSQL and NATS of a platform: the ones that are named, or embedded ones. */
import { databaseUrlOf, dataDirOf } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import type { databaseOptions, folderOptions, natsOptions } from "../config/tables.ts";
import { lockDataDir } from "../embedded/data-dir.ts";
import { startEmbeddedNats } from "../embedded/nats.ts";
import { startEmbeddedPostgres } from "../embedded/postgres.ts";
import type { Logger } from "../observability/log.ts";

export interface Infrastructure extends AsyncDisposable {
  readonly databaseUrl: string;
  readonly natsUrl: string;
  /** Database for playbooks in the embedded PostgreSQL; undefined with an external one. */
  readonly playbooksUrl: string | undefined;
  /** Folder of the embedded parts and of the encryption key. */
  readonly dataDir: string;
}

type InfrastructureValues = Values<typeof databaseOptions & typeof folderOptions> &
  Pick<Values<typeof natsOptions>, "natsUrl">;

/**
 * Starts what is not named; both at once. Disposing stops it again, NATS first.
 *
 * @throws AppError `DATA_DIR_IN_USE`, and those of the embedded services.
 */
export async function openInfrastructure(
  values: InfrastructureValues,
  log: Logger,
): Promise<Infrastructure> {
  const dataDir = dataDirOf(values);
  const databaseUrl = databaseUrlOf(values);
  const options = { dataDir, cacheDir: values.cacheDir, log };
  await using stack = new AsyncDisposableStack();
  if (databaseUrl === undefined || values.natsUrl === undefined) {
    stack.use(lockDataDir(dataDir));
  }
  const [postgres, nats] = await Promise.all([
    databaseUrl === undefined ? startEmbeddedPostgres(options) : undefined,
    values.natsUrl === undefined ? startEmbeddedNats(options) : undefined,
  ]);
  stack.use(postgres);
  stack.use(nats);
  const owned = stack.move();
  return {
    databaseUrl: databaseUrl ?? postgres?.url ?? "",
    natsUrl: values.natsUrl ?? nats?.url ?? "",
    playbooksUrl: postgres?.playbooksUrl,
    dataDir,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
