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
