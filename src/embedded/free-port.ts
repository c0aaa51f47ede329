import { createServer } from "node:net";
import { AppError } from "../core/errors.ts";

/**
 * A TCP port on 127.0.0.1 that nobody listens on: `preferred` if it is free, otherwise any.
 * Another process may take it before the caller does.
 */
export async function findFreePort(preferred = 0): Promise<number> {
  const port = await tryPort(preferred);
  return port ?? (await tryPort(0)) ?? failNoPort();
}

function tryPort(port: number): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  const server = createServer();
  server.once("error", () => resolve(undefined));
  server.listen(port, "127.0.0.1", () => {
    const address = server.address();
    const found = typeof address === "object" && address !== null ? address.port : undefined;
    server.close(() => resolve(found));
  });
  return promise;
}

function failNoPort(): never {
  throw new AppError("unavailable", "NO_FREE_PORT", "No free TCP port is left on 127.0.0.1");
}
