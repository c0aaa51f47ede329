/** The PostgreSQL and NATS of a platform: the ones that are named, or embedded ones. */
import { databaseUrlOf, dataDirOf } from "../config/decide.ts";
import type { Values } from "../config/option.ts";
import type { databaseOptions, folderOptions, natsOptions } from "../config/tables.ts";
import { Secret } from "../core/secret.ts";
import { lockDataDir } from "../embedded/data-dir.ts";
import { startEmbeddedNats } from "../embedded/nats.ts";
import { startEmbeddedPostgres } from "../embedded/postgres.ts";
import type { Logger } from "../observability/log.ts";

export interface Infrastructure extends AsyncDisposable {
  readonly databaseUrl: Secret;
  readonly natsUrl: Secret;
  /** Database for playbooks in the embedded PostgreSQL; undefined with an external one. */
  readonly playbooksUrl: Secret | undefined;
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
    databaseUrl: databaseUrl ?? new Secret(postgres?.url ?? ""),
    natsUrl: values.natsUrl ?? new Secret(nats?.url ?? ""),
    playbooksUrl: postgres && new Secret(postgres.playbooksUrl),
    dataDir,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Where NATS is, without the names and passwords that URLs may hold. */
export function natsAddress({ natsUrl }: Pick<Infrastructure, "natsUrl">): string {
  const hosts = natsUrl.reveal().split(",");
  return hosts.map((url) => URL.parse(url.trim())?.host ?? "?").join(",");
}
