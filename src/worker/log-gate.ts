/**
 * What one task may log: so many lines a second after a burst, so many characters in all, so many
 * characters a line. What is dropped or cut is counted and said in the log itself.
 */
import type { WorkerLimits } from "./options.ts";

export interface GatedLine {
  readonly stream: "stdout" | "stderr" | "system";
  readonly text: string;
}

type LogLimits = Pick<
  WorkerLimits,
  "logLinesPerSecond" | "logBurstLines" | "logChars" | "logLineChars"
>;

export class LogGate {
  readonly #limits: LogLimits;
  /** A token bucket: lines that may be written now. */
  #tokens: number;
  #filledMs: number;
  #charsLeft: number;
  #droppedCount = 0;

  constructor(limits: LogLimits, nowMs: number) {
    this.#limits = limits;
    this.#tokens = limits.logBurstLines;
    this.#filledMs = nowMs;
    this.#charsLeft = limits.logChars;
  }

  /** The lines to write instead of `text`: none when it is dropped. */
  pass(stream: GatedLine["stream"], text: string, nowMs: number): readonly GatedLine[] {
    this.#fill(nowMs);
    const line = this.#cut(text);
    if (this.#tokens < 1 || this.#charsLeft < line.length) {
      this.#droppedCount++;
      return [];
    }
    this.#tokens--;
    this.#charsLeft -= line.length;
    return [...this.flush(), { stream, text: line }];
  }

  /** Says how many lines were dropped since the last time; nothing when there were none. */
  flush(): readonly GatedLine[] {
    if (this.#droppedCount === 0) {
      return [];
    }
    const text = `${this.#droppedCount} lines dropped: the task writes more than its log may hold`;
    this.#droppedCount = 0;
    return [{ stream: "system", text }];
  }

  get droppedCount(): number {
    return this.#droppedCount;
  }

  #fill(nowMs: number): void {
    const { logLinesPerSecond, logBurstLines } = this.#limits;
    const earned = (Math.max(0, nowMs - this.#filledMs) / 1000) * logLinesPerSecond;
    this.#tokens = Math.min(logBurstLines, this.#tokens + earned);
    this.#filledMs = nowMs;
  }

  #cut(text: string): string {
    const { logLineChars } = this.#limits;
    return text.length <= logLineChars
      ? text
      : `${text.slice(0, logLineChars)}… [${text.length - logLineChars} characters cut]`;
  }
}
