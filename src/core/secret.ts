/**
 * A text that must not get into logs, errors or a debugger's output by accident: it prints as
 * `[secret]` however it is printed, and only {@link Secret.reveal} gives it, which is easy to find.
 */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return this.toString();
  }

  /** For `console.log` and its like. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}
