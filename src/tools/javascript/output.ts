/** Sends what a task prints to the worker, line by line, instead of to this process's stdout. */
import { Console } from "node:console";

type Stream = "stdout" | "stderr";

export interface TaskOutput {
  /** Begins a task: counters, groups and half lines of the one before are gone. */
  begin(): void;
  /** Sends the half lines that are left. */
  end(): void;
  write(stream: Stream, text: string): void;
}

/** Replaces the methods of `console` and the two `write`s. Must run before the realm is hardened. */
export function captureOutput(send: (stream: Stream, text: string) => void): TaskOutput {
  const rest = { stdout: "", stderr: "" };
  const write = (stream: Stream, text: string): void => {
    const whole = rest[stream] + text;
    const end = whole.lastIndexOf("\n");
    rest[stream] = whole.slice(end + 1);
    if (end !== -1) {
      send(stream, whole.slice(0, end));
    }
  };
  const flush = (stream: Stream): void => {
    if (rest[stream] !== "") {
      send(stream, rest[stream]);
      rest[stream] = "";
    }
  };
  const resetConsole = replaceConsole(write);
  replaceWrite("stdout", write);
  replaceWrite("stderr", write);
  return {
    write,
    begin: () => {
      rest.stdout = "";
      rest.stderr = "";
      resetConsole();
    },
    end: () => {
      flush("stdout");
      flush("stderr");
    },
  };
}

/** Gives `console` methods that write there; the returned function starts them over. */
function replaceConsole(write: (stream: Stream, text: string) => void): () => void {
  let current: Console | undefined;
  const make = (): Console =>
    new Console({
      stdout: sink("stdout", write),
      stderr: sink("stderr", write),
      colorMode: false,
      ignoreErrors: false,
    });
  for (const name of Object.keys(console)) {
    const isMethod = typeof Reflect.get(make(), name) === "function" && name !== "Console";
    if (isMethod) {
      Reflect.set(console, name, (...values: readonly unknown[]) => {
        current ??= make();
        Reflect.apply(Reflect.get(current, name), current, values);
      });
    }
  }
  return () => {
    current = undefined;
  };
}

function sink(
  stream: Stream,
  write: (stream: Stream, text: string) => void,
): NodeJS.WritableStream {
  return { write: (text: string) => write(stream, text) } as unknown as NodeJS.WritableStream;
}

function replaceWrite(name: Stream, write: (stream: Stream, text: string) => void): void {
  const decoder = new TextDecoder();
  process[name].write = (chunk: string | Uint8Array, ...more: readonly unknown[]): boolean => {
    write(name, typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true }));
    const callback = more.at(-1);
    if (typeof callback === "function") {
      queueMicrotask(() => callback());
    }
    return true;
  };
}
