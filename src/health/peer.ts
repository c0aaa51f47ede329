/** Who answers at an address, when it is not who was expected there. */
import { lookup } from "node:dns/promises";
import { connect, isIP } from "node:net";
import { connect as connectTls } from "node:tls";
import { errorMessage } from "../core/errors.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Of each try to make it say something. */
const TRY_MS = 500;
const SSL_REQUEST = Uint8Array.of(0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f);

/**
 * What is at the address, as the rest of a sentence that begins with it: `nothing listens there`, `a NATS
 * server answers there`. Connects a few times at most and sends nothing that changes anything.
 */
export async function describePeer({ host, port }: Address): Promise<string> {
  const unknown = isIP(host) === 0 ? await lookupProblem(host) : undefined;
  if (unknown !== undefined) {
    return unknown;
  }
  const first = await talk({ host, port }, "GET /noetl-health HTTP/1.0\r\n\r\n");
  if ("problem" in first) {
    return first.problem;
  }
  const known = recognise(first.bytes);
  if (known !== undefined) {
    return `${known} answers there`;
  }
  if (await speaksTls({ host, port })) {
    return "something that speaks TLS answers there";
  }
  const second = await talk({ host, port }, SSL_REQUEST);
  const letter = "bytes" in second ? second.bytes.toString("latin1") : "";
  if (letter === "S" || letter === "N") {
    return "a PostgreSQL server answers there";
  }
  return first.bytes.length === 0
    ? "something listens there and says nothing"
    : "something unknown answers there";
}

async function lookupProblem(host: string): Promise<string | undefined> {
  try {
    await lookup(host);
    return undefined;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    return `the name ${host} is not known here (DNS${code === "" ? "" : `: ${code}`})`;
  }
}

function recognise(bytes: Buffer): string | undefined {
  const text = bytes.toString("latin1");
  if (text.startsWith("INFO {")) {
    return "a NATS server";
  }
  if (/client sent an http request to an https server/i.test(text) || bytes[0] === 0x15) {
    return "something that speaks TLS";
  }
  if (text.startsWith("HTTP/1")) {
    return httpServer(text);
  }
  if (text.startsWith("SSH-")) {
    return "an SSH server";
  }
  // The frame that every HTTP/2 server begins with: SETTINGS, on stream 0.
  return bytes.length >= 9 && bytes[0] === 0 && bytes[3] === 4
    ? "an HTTP/2 server (gRPC without TLS)"
    : undefined;
}

function httpServer(text: string): string {
  const server = /^server: *(.{1,60})$/im.exec(text)?.[1];
  return server === undefined ? "an HTTP server" : `an HTTP server (${server.trim()})`;
}

type Said = { readonly bytes: Buffer } | { readonly problem: string };

/** What it says first, or until it closes. */
function talk({ host, port }: Address, first: string | Uint8Array): Promise<Said> {
  const { promise, resolve } = Promise.withResolvers<Said>();
  const socket = connect({ host, port });
  const timer = setTimeout(() => {
    const isSilent = !socket.connecting;
    resolve(isSilent ? { bytes: Buffer.alloc(0) } : { problem: "nothing answers there" });
    socket.destroy();
  }, TRY_MS);
  socket.on("connect", () => socket.write(first));
  socket.on("data", (bytes: Buffer) => {
    resolve({ bytes });
    socket.destroy();
  });
  socket.on("error", (error) => resolve(afterError(error)));
  socket.on("close", () => resolve({ bytes: Buffer.alloc(0) }));
  return promise.finally(() => clearTimeout(timer));
}

function afterError(error: Error): Said {
  const code = "code" in error ? String(error.code) : "";
  if (code === "ECONNREFUSED") {
    return { problem: "nothing listens there (connection refused)" };
  }
  // It was there, and did not like what it was told.
  return code === "ECONNRESET" || code === "EPIPE"
    ? { bytes: Buffer.alloc(0) }
    : { problem: `it cannot be reached (${code || errorMessage(error)})` };
}

function speaksTls({ host, port }: Address): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const name = isIP(host) === 0 ? { servername: host } : {};
  // Only the handshake counts here: nothing is sent, whoever it is.
  const socket = connectTls({ host, port, ...name, rejectUnauthorized: false });
  const timer = setTimeout(() => resolve(false), TRY_MS);
  socket.on("secureConnect", () => resolve(true));
  socket.on("error", () => resolve(false));
  socket.on("close", () => resolve(false));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}
