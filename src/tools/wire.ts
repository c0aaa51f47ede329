/**
 * The socket on which tool processes call back. Each connection begins with a hello: the token
 * (16 bytes), an id (32 bits, little-endian) and a role (one byte); what follows is up to the two
 * ends. On Linux the address is abstract, so nothing is left behind on disk.
 */
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket, SocketHandler } from "bun";

const TOKEN_BYTES = 16;
const HELLO_BYTES = TOKEN_BYTES + 4 + 1;

/** What a connection carries. A JavaScript runner has `control` only. */
export const ROLES = { control: 0, stdout: 1, stderr: 2 } as const;

export interface WireAddress {
  readonly address: string;
  /** Hexadecimal. */
  readonly token: string;
}

export interface WireListener extends WireAddress {
  close(): void;
}

/** One end of a connection. Writing never blocks: what the kernel does not take waits in memory. */
export class Wire {
  onData: (chunk: Uint8Array) => void = ignore;
  onClose: () => void = ignore;
  /** Tells the process at the other end: its process id, or what it was given at its start. */
  readonly id: number;
  readonly role: number;
  readonly #socket: Socket<unknown>;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #isClosed = false;

  constructor(socket: Socket<unknown>, id: number, role: number) {
    this.#socket = socket;
    this.id = id;
    this.role = role;
  }

  /** Bytes that the other end has not taken yet. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  write(bytes: Uint8Array): void {
    if (this.#isClosed) {
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waiting.length === 1) {
      this.flush();
    }
  }

  /** Writes what waits; called when the socket has room again. */
  flush(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const count = Math.max(0, this.#socket.write(next));
      this.#waitingBytes -= count;
      if (count < next.length) {
        this.#waiting[0] = next.subarray(count);
        return;
      }
      this.#waiting.shift();
    }
  }

  close(): void {
    this.#socket.terminate();
  }

  /** Told once by the socket. */
  closed(): void {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#waiting = [];
      this.onClose();
    }
  }
}

/** Listens for processes that know the token; others are cut off. */
export function listenForWires(onWire: (wire: Wire) => void): WireListener {
  const token = randomBytes(TOKEN_BYTES);
  const name = `noetl-${process.pid}-${randomBytes(6).toString("hex")}`;
  const address = process.platform === "linux" ? `\0${name}` : join(tmpdir(), `${name}.sock`);
  const listener = Bun.listen<Greeting>({ unix: address, socket: greetingHandler(token, onWire) });
  return { address, token: token.toString("hex"), close: () => listener.stop(true) };
}

interface Greeting {
  wire: Wire | undefined;
  hello: Buffer;
}

function greetingHandler(token: Buffer, onWire: (wire: Wire) => void): SocketHandler<Greeting> {
  return {
    open: (socket) => {
      socket.data = { wire: undefined, hello: Buffer.alloc(0) };
    },
    data: (socket, chunk) => {
      if (socket.data.wire !== undefined) {
        socket.data.wire.onData(chunk);
        return;
      }
      const hello = Buffer.concat([socket.data.hello, chunk]);
      socket.data.hello = hello;
      if (hello.length < HELLO_BYTES) {
        return;
      }
      if (!hello.subarray(0, TOKEN_BYTES).equals(token)) {
        socket.terminate();
        return;
      }
      const wire = new Wire(socket, hello.readUInt32LE(TOKEN_BYTES), hello[HELLO_BYTES - 1] ?? 0);
      socket.data.wire = wire;
      onWire(wire);
      if (hello.length > HELLO_BYTES) {
        wire.onData(hello.subarray(HELLO_BYTES));
      }
    },
    drain: (socket) => socket.data.wire?.flush(),
    close: (socket) => socket.data.wire?.closed(),
    error: (socket) => socket.terminate(),
  };
}

/** The other end, for tool processes that are this program. */
export async function connectWire(
  { address, token }: WireAddress,
  id: number,
  role: number,
): Promise<Wire> {
  const opened = Promise.withResolvers<Wire>();
  let wire: Wire | undefined;
  await Bun.connect({
    unix: address,
    socket: {
      open: (socket) => {
        const hello = Buffer.alloc(HELLO_BYTES);
        hello.write(token, "hex");
        hello.writeUInt32LE(id, TOKEN_BYTES);
        hello[HELLO_BYTES - 1] = role;
        wire = new Wire(socket, id, role);
        wire.write(hello);
        opened.resolve(wire);
      },
      data: (_socket, chunk) => wire?.onData(chunk),
      drain: () => wire?.flush(),
      close: () => wire?.closed(),
      error: () => wire?.close(),
    },
  });
  return await opened.promise;
}

function ignore(): void {
  // Nobody listens yet, or any more.
}
