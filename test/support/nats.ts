import { connect } from "nats";
import type { EmbeddedNats } from "../../src/embedded/nats.ts";
import { startEmbeddedNats } from "../../src/embedded/nats.ts";
import { SILENT_LOG } from "./log.ts";
import { makeScratchDir } from "./scratch.ts";

/**
 * A nats-server with JetStream of its own, empty; it is started anew when it dies, on the same port.
 * Stopped at the end of the scope: `await using nats = await startNats()`.
 */
export async function startNats(): Promise<EmbeddedNats> {
  return await startEmbeddedNats({ dataDir: makeScratchDir("nats"), log: SILENT_LOG });
}

/**
 * Gives back the room of streams that no test needs any more. A stream of logs reserves 1 GiB, so a server that
 * many tests share would refuse new ones on a machine with a small disk.
 */
export async function deleteStreams(url: string, names: readonly string[]): Promise<void> {
  const connection = await connect({ servers: url, waitOnFirstConnect: true });
  try {
    const { streams } = await connection.jetstreamManager();
    const there = await streams.names().next();
    await Promise.all(
      there.flatMap((name) => (names.includes(name) ? [streams.delete(name)] : [])),
    );
  } finally {
    await connection.close();
  }
}
