/**
 * Memory that the worker shares with one runner: who may run which task, and short results.
 *
 * The worker sends a runner several tasks at once, numbered from 1 in the order of their frames.
 * One word holds the number of the last task that was started. The runner raises it by one before
 * each task; the worker takes back all that has not begun by raising it to the last number that it
 * sent. Both do so by compare-and-swap, so a task is either started or taken back, never both
 * (`Atomics` are real atomics on memory that two processes have mapped).
 *
 * Results are left in slots, so that they are there as soon as a task has ended, even when the next
 * one hangs or the runner is killed; the connection only rings.
 */
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Tasks that a runner may hold at once; their numbers must not share a slot. */
export const SLOT_COUNT = 64;
const SLOT_BYTES = 2048;
/** Word 0: the last task that was started or taken back. Word 1 + n: bytes of the text in slot n. */
const HEADER_BYTES = 4096;
const WORD_COUNT = 1 + SLOT_COUNT;
/** In memory where that is a folder, so that nothing is written to a disk. */
const MEMORY_FOLDER = "/dev/shm";

export class Ledger {
  /** For the other process, until `release`. */
  readonly path: string;
  #release: () => void;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #slots: Buffer;

  private constructor(path: string, release: () => void) {
    const { buffer, byteOffset } = Bun.mmap(path, { shared: true });
    this.path = path;
    this.#release = release;
    this.#words = new Int32Array(buffer, byteOffset, WORD_COUNT);
    this.#slots = Buffer.from(buffer, byteOffset + HEADER_BYTES, SLOT_COUNT * SLOT_BYTES);
  }

  /** Made by the worker. Filled with zeros at once: memory that is missing later would be fatal. */
  static create(): Ledger {
    const folder = existsSync(MEMORY_FOLDER) ? MEMORY_FOLDER : tmpdir();
    const name = `noetl-${process.pid}-${randomBytes(6).toString("hex")}`;
    const zeros = new Uint8Array(HEADER_BYTES + SLOT_COUNT * SLOT_BYTES);
    const path = join(folder, name);
    const file = openSync(path, "wx+", 0o600);
    try {
      if (writeSync(file, zeros) < zeros.length) {
        throw new Error(`no room in ${folder}`);
      }
      return process.platform === "linux"
        ? new Ledger(`/proc/${process.pid}/fd/${file}`, () => closeSync(file))
        : new Ledger(path, () => removeFile(path, file));
    } catch (error) {
      closeSync(file);
      throw error;
    } finally {
      if (process.platform === "linux") {
        unlinkSync(path);
      }
    }
  }

  /** The same memory, in the runner. */
  static open(path: string): Ledger {
    return new Ledger(path, () => undefined);
  }

  /** Takes the path away; the memory lives as long as somebody has it mapped. */
  release(): void {
    this.#release();
    this.#release = () => undefined;
  }

  /** The last task that was started or taken back. */
  get last(): number {
    return Atomics.load(this.#words, 0);
  }

  /** Runner: claims task `number`, the next one in its queue; false if it was taken back. */
  start(number: number): boolean {
    return Atomics.compareExchange(this.#words, 0, number - 1, number) === number - 1;
  }

  /** Worker: keeps the runner from starting anything up to `sent`; gives the last that it started. */
  takeBack(sent: number): number {
    for (;;) {
      const { last } = this;
      if (Atomics.compareExchange(this.#words, 0, last, sent) === last) {
        return last;
      }
    }
  }

  /** Runner: leaves the result of a task; false if it is too long or its slot is not free. */
  put(number: number, text: string): boolean {
    const slot = number % SLOT_COUNT;
    const isLong = text.length > SLOT_BYTES || Buffer.byteLength(text) > SLOT_BYTES;
    if (isLong || Atomics.load(this.#words, 1 + slot) !== 0) {
      return false;
    }
    const bytes = this.#slots.write(text, slot * SLOT_BYTES, SLOT_BYTES, "utf8");
    Atomics.store(this.#words, 1 + slot, bytes);
    return true;
  }

  /** Worker: picks up the result of a task, if it is there. */
  take(number: number): string | undefined {
    const slot = number % SLOT_COUNT;
    const bytes = Atomics.load(this.#words, 1 + slot);
    if (bytes === 0) {
      return undefined;
    }
    const text = this.#slots.toString("utf8", slot * SLOT_BYTES, slot * SLOT_BYTES + bytes);
    Atomics.store(this.#words, 1 + slot, 0);
    return text;
  }
}

function removeFile(path: string, file: number): void {
  closeSync(file);
  unlinkSync(path);
}
