/** From what a runtime keeps of a container's output to lines: with time, apart by stream, in order. */

export type LogStream = "stdout" | "stderr";
export type OnLogLine = (stream: LogStream, line: string, timeMs: number) => void;

/** Longest line handed on in one piece; a longer one is cut into several. Characters. */
const LINE_LENGTH_MAX = 64 * 1024;
/** How often a progress bar that never ends its line is shown, by the container's own times. */
const PROGRESS_EVERY_MS = 2000;

/** Part of a line, as the runtime has written it down. */
export interface LogPiece {
  readonly stream: LogStream;
  readonly timeMs: number;
  readonly bytes: Uint8Array;
  /** The line goes on in the next piece of its stream. */
  readonly isPartial: boolean;
}

/** What was handed on before: the lines of the last millisecond cannot be told apart by time. */
export interface LogPosition {
  /** Whole milliseconds. */
  readonly timeMs: number;
  /** Lines handed on with exactly that time. */
  readonly count: number;
}

export interface LineJoiner {
  push(piece: LogPiece): void;
  /** Hands on what has no end yet. */
  end(): void;
}

/**
 * Makes lines out of pieces, whatever their bytes are. Of a line that rewrites itself with carriage returns
 * the last state is handed on, and while it lasts the state of every two seconds.
 */
export function createLineJoiner(onLine: OnLogLine): LineJoiner {
  const joiners = { stdout: createStreamJoiner("stdout"), stderr: createStreamJoiner("stderr") };
  function createStreamJoiner(stream: LogStream): StreamJoiner {
    return new StreamJoiner((line, timeMs) => onLine(stream, line, timeMs));
  }
  return {
    push: (piece) => joiners[piece.stream].push(piece),
    end: () => {
      joiners.stdout.end();
      joiners.stderr.end();
    },
  };
}

class StreamJoiner {
  readonly #onLine: (line: string, timeMs: number) => void;
  readonly #decoder = new TextDecoder();
  #rest = "";
  #isOpen = false;
  #timeMs = 0;
  /** Of the last line or state handed on. */
  #shownMs = 0;

  constructor(onLine: (line: string, timeMs: number) => void) {
    this.#onLine = onLine;
  }

  push({ bytes, isPartial, timeMs }: LogPiece): void {
    if (!this.#isOpen) {
      this.#shownMs = timeMs;
    }
    this.#timeMs = timeMs;
    this.#rest += this.#decoder.decode(bytes, { stream: isPartial });
    this.#isOpen = isPartial;
    if (isPartial) {
      this.#shorten();
    } else {
      this.#finish();
    }
  }

  end(): void {
    if (this.#isOpen) {
      this.#rest += this.#decoder.decode();
      this.#isOpen = false;
      if (this.#rest !== "") {
        this.#finish();
      }
    }
  }

  #finish(): void {
    const line = lastState(this.#rest);
    this.#rest = "";
    this.#cut(line);
  }

  /** Of an open line: keeps its last state only, and no more than a line may have. */
  #shorten(): void {
    const end = this.#rest.lastIndexOf("\r", this.#rest.length - 2);
    if (end >= 0) {
      const state = lastState(this.#rest.slice(0, end));
      this.#rest = this.#rest.slice(end + 1);
      if (this.#timeMs - this.#shownMs >= PROGRESS_EVERY_MS && state !== "") {
        this.#shownMs = this.#timeMs;
        this.#cut(state);
      }
    }
    while (this.#rest.length > LINE_LENGTH_MAX) {
      this.#onLine(this.#rest.slice(0, LINE_LENGTH_MAX), this.#timeMs);
      this.#rest = this.#rest.slice(LINE_LENGTH_MAX);
    }
  }

  #cut(line: string): void {
    for (let start = 0; start === 0 || start < line.length; start += LINE_LENGTH_MAX) {
      this.#onLine(line.slice(start, start + LINE_LENGTH_MAX), this.#timeMs);
    }
  }
}

/** What a terminal would show at the end of that line. */
function lastState(line: string): string {
  if (!line.includes("\r")) {
    return line;
  }
  return line.split("\r").findLast((state) => state !== "") ?? "";
}

/** Passes on only what comes behind a position; whole milliseconds. */
export function createSeam(since: LogPosition | undefined, onLine: OnLogLine): LogSeam {
  let position: LogPosition = since ?? { timeMs: 0, count: 0 };
  let knownLeft = position.count;
  const sinceMs = position.timeMs;
  return {
    position: () => position,
    onLine: (stream, line, exactMs) => {
      const timeMs = Math.floor(exactMs);
      if (timeMs < sinceMs || (timeMs === sinceMs && knownLeft > 0)) {
        knownLeft -= timeMs === sinceMs ? 1 : 0;
        return;
      }
      position = { timeMs, count: timeMs === position.timeMs ? position.count + 1 : 1 };
      onLine(stream, line, timeMs);
    },
  };
}

export interface LogSeam {
  readonly onLine: OnLogLine;
  /** Where to go on. */
  position(): LogPosition;
}

/** Milliseconds, with the fraction, of a time as Go writes it; undefined: it is none. */
export function parseStamp(stamp: string): number | undefined {
  const [, second, fraction = "", zone] =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(stamp) ?? [];
  if (second === undefined || zone === undefined) {
    return undefined;
  }
  return Date.parse(second + zone) + Number(fraction.padEnd(9, "0")) / 1e6;
}
