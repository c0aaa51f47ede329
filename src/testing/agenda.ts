/** What is to happen when, on a clock that jumps from one entry to the next. */

export type Act = () => Promise<void> | void;

export class Agenda {
  /** Milliseconds since 1970. */
  nowMs: number;
  readonly #acts = new Map<number, Act[]>();
  /** Keys of the map, the latest first. */
  readonly #times: number[] = [];

  constructor(nowMs: number) {
    this.nowMs = nowMs;
  }

  /** Acts of the same time happen in the order in which they were added; the past is now. */
  add(timeMs: number, act: Act): void {
    const at = Math.max(timeMs, this.nowMs);
    const acts = this.#acts.get(at);
    if (acts !== undefined) {
      acts.push(act);
      return;
    }
    this.#acts.set(at, [act]);
    const place = this.#times.findLastIndex((other) => other > at);
    this.#times.splice(place + 1, 0, at);
  }

  /** Moves the clock to the next act and takes it out; undefined when there is none. */
  next(): Act | undefined {
    const at = this.#times.at(-1);
    if (at === undefined) {
      return undefined;
    }
    this.nowMs = at;
    const acts = this.#acts.get(at) ?? [];
    const act = acts.shift();
    if (acts.length === 0) {
      this.#acts.delete(at);
      this.#times.pop();
    }
    return act;
  }
}
