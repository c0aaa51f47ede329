/**
 * The server's end of one worker's heartbeat stream.
 *
 * Each heartbeat is answered once it has renewed the leases, with directives or with none: the
 * answer is what tells the worker that its leases hold. While one is being handled only the newest
 * of those that arrive is kept. Directives also go out on their own as soon as there are any. A
 * heartbeat that cannot be handled ends the stream, and the worker tries another server.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { Directive, Heartbeat } from "../engine/command.ts";
import { decodeHeartbeat, encodeDirective } from "./codec.ts";
import type * as wire from "./generated/noetl/v1/worker.ts";
import type { WorkerHandlers } from "./handlers.ts";

export type HeartbeatCall = ServerDuplexStream<wire.Heartbeat, wire.Directives>;

/** Resolves when the worker ends the stream or is gone. @throws what a heartbeat failed with. */
export async function serveHeartbeats(
  call: HeartbeatCall,
  handlers: Pick<WorkerHandlers, "heartbeat" | "subscribeDirectives">,
  stopping: AbortSignal,
): Promise<void> {
  const link = new HeartbeatLink(call, handlers);
  const close = (): void => link.close();
  stopping.addEventListener("abort", close, { once: true });
  try {
    await link.closed;
  } finally {
    stopping.removeEventListener("abort", close);
    link.stop();
  }
  call.end();
}

class HeartbeatLink {
  readonly #call: HeartbeatCall;
  readonly #handlers: Pick<WorkerHandlers, "heartbeat" | "subscribeDirectives">;
  readonly #ending = Promise.withResolvers<void>();
  #unsubscribe: (() => void) | undefined;
  #waiting: wire.Heartbeat | undefined;
  #isBusy = false;
  #isStopped = false;

  constructor(
    call: HeartbeatCall,
    handlers: Pick<WorkerHandlers, "heartbeat" | "subscribeDirectives">,
  ) {
    this.#call = call;
    this.#handlers = handlers;
    call.on("data", (heartbeat: wire.Heartbeat) => this.#receive(heartbeat));
    for (const event of ["end", "cancelled", "error"]) {
      call.on(event, () => this.close());
    }
  }

  get closed(): Promise<void> {
    return this.#ending.promise;
  }

  close(): void {
    this.#ending.resolve();
  }

  stop(): void {
    this.#isStopped = true;
    this.#unsubscribe?.();
  }

  #receive(heartbeat: wire.Heartbeat): void {
    this.#waiting = heartbeat;
    if (!this.#isBusy) {
      this.#isBusy = true;
      this.#work().catch((error: unknown) => this.#ending.reject(error));
    }
  }

  async #work(): Promise<void> {
    while (this.#waiting !== undefined && !this.#isStopped) {
      const heartbeat = decodeHeartbeat(this.#waiting);
      this.#waiting = undefined;
      this.#subscribe(heartbeat);
      this.#write(await this.#handlers.heartbeat(heartbeat), true);
    }
    this.#isBusy = false;
  }

  #subscribe({ workerId }: Heartbeat): void {
    this.#unsubscribe ??= this.#handlers.subscribeDirectives(workerId, (directives) =>
      this.#write(directives, false),
    );
  }

  #write(directives: readonly Directive[], isAnswer: boolean): void {
    if (!this.#isStopped) {
      this.#call.write({ directives: directives.map(encodeDirective), isAnswer });
    }
  }
}
