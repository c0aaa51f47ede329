/** The output of one try of a task: limited, masked, on its way to people; and its last lines. */
import type { LogLine } from "../engine/command.ts";
import type { LogGate } from "./log-gate.ts";

/** What a failure shows of stderr. */
const TAIL_LINES_MAX = 20;
const TAIL_LINE_CHARS_MAX = 500;

export interface TaskLogOptions {
  /** What all lines of the try have in common. */
  readonly origin: Omit<LogLine, "stream" | "timeMs" | "text">;
  /** Shared by all tries of a task. */
  readonly gate: LogGate;
  readonly mask: (text: string) => string;
  readonly write: (line: LogLine) => void;
  readonly onDropped: () => void;
}

export class TaskLog {
  readonly #options: TaskLogOptions;
  readonly #tail: string[] = [];

  constructor(options: TaskLogOptions) {
    this.#options = options;
  }

  /** @param writtenMs when the task wrote it; absent: now. */
  readonly line = (stream: LogLine["stream"], text: string, writtenMs?: number): void => {
    const { gate, mask, onDropped } = this.#options;
    const masked = mask(text);
    if (stream === "stderr") {
      this.#remember(masked);
    }
    const nowMs = Date.now();
    const lines = gate.pass(stream, masked, nowMs);
    if (lines.length === 0) {
      onDropped();
    }
    this.#write(lines, writtenMs ?? nowMs);
  };

  /** Says what was dropped. */
  end(): void {
    this.#write(this.#options.gate.flush(), Date.now());
  }

  /** The last lines of stderr; undefined when there were none. */
  get stderr(): string | undefined {
    return this.#tail.length === 0 ? undefined : this.#tail.join("\n");
  }

  #write(lines: ReturnType<LogGate["flush"]>, timeMs: number): void {
    for (const { stream, text } of lines) {
      this.#options.write({ ...this.#options.origin, stream, timeMs, text });
    }
  }

  #remember(text: string): void {
    this.#tail.push(text.slice(0, TAIL_LINE_CHARS_MAX));
    if (this.#tail.length > TAIL_LINES_MAX) {
      this.#tail.shift();
    }
  }
}
