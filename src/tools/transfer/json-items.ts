/** Finds the elements of one list in JSON text that comes in pieces; the whole is never held. */
import { errorMessage } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import { parseJson } from "../../core/json.ts";
import { taskError } from "../task-error.ts";

/** Largest single element. Characters. */
const ITEM_LENGTH_MAX = 64 * 1024 * 1024;
const NAMES_SHOWN_MAX = 10;

const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const OPEN_LIST = 91;
const BACKSLASH = 92;
const CLOSE_LIST = 93;
const OPEN_MAP = 123;
const CLOSE_MAP = 125;
const SPACE_MAX = 32;

interface Frame {
  readonly isMap: boolean;
  /** Name, or position, of what is being read in it. */
  key: string;
  isAtKey: boolean;
}

export class JsonItems {
  readonly #path: readonly string[];
  readonly #stack: Frame[] = [];
  readonly #topNames: string[] = [];
  #text = "";
  #position = 0;
  /** Where the name, or the element, that is being read begins; -1: none is. */
  #start = -1;
  #isInString = false;
  #isEscaped = false;
  /** Open lists and maps where elements are: the list's own depth. 0: not found yet. */
  #depth = 0;
  /** The value at the path is a map: it is the only element. */
  #isSingle = false;
  #isDone = false;

  /** @param path of the list; empty: the text itself is the list. */
  constructor(path: readonly string[]) {
    this.#path = path;
  }

  /**
   * Takes the next piece and gives the elements that it completes.
   *
   * @throws TaskError on what is no JSON, and past the size limit.
   */
  push(piece: string): readonly Json[] {
    const items: Json[] = [];
    this.#text += piece;
    const text = this.#text;
    for (; this.#position < text.length && !this.#isDone; this.#position++) {
      const code = text.charCodeAt(this.#position);
      if (this.#isInString) {
        this.#goOnInString(code);
      } else if (code > SPACE_MAX) {
        this.#take(code, items);
      }
    }
    this.#forget();
    return items;
  }

  /** @throws TaskError if the text ended early, or has no list at the path. */
  end(): void {
    if (this.#isDone) {
      return;
    }
    if (this.#stack.length > 0) {
      throw taskError("parse", "JSON_CUT", "source: the answer ends in the middle of its JSON");
    }
    const where = this.#path.length === 0 ? "" : ` at data_path "${this.#path.join(".")}"`;
    const names = this.#topNames.map((name) => `"${name}"`).join(", ");
    const has = names === "" ? "" : `; at its top it has ${names}`;
    throw taskError("schema", "LIST_MISSING", `source: the answer has no list${where}${has}`);
  }

  #goOnInString(code: number): void {
    if (this.#isEscaped) {
      this.#isEscaped = false;
    } else if (code === BACKSLASH) {
      this.#isEscaped = true;
    } else if (code === QUOTE) {
      this.#isInString = false;
      if (this.#depth === 0) {
        this.#finishString(this.#stack.at(-1));
      }
    }
  }

  #finishString(frame: Frame | undefined): void {
    if (frame?.isAtKey === true) {
      frame.key = String(parseItem(this.#text.slice(this.#start, this.#position + 1)));
      this.#noteName(frame.key);
    }
    this.#start = -1;
  }

  #noteName(name: string): void {
    if (this.#stack.length === 1 && this.#topNames.length < NAMES_SHOWN_MAX) {
      this.#topNames.push(name);
    }
  }

  #take(code: number, items: Json[]): void {
    const isAtItems = this.#depth > 0 && this.#stack.length === this.#depth && !this.#isSingle;
    if (isAtItems && (code === COMMA || code === CLOSE_LIST)) {
      this.#finishItem(items);
    } else if (isAtItems && this.#start === -1) {
      this.#start = this.#position;
    }
    switch (code) {
      case QUOTE:
        this.#isInString = true;
        if (this.#depth === 0) {
          this.#start = this.#position;
        }
        return;
      case OPEN_LIST:
      case OPEN_MAP:
        this.#open(code === OPEN_MAP);
        return;
      case CLOSE_LIST:
      case CLOSE_MAP:
        this.#close(code === CLOSE_MAP, items);
        return;
      case COMMA:
        this.#next();
        return;
      case COLON:
        this.#colon();
        return;
      default:
        if (this.#stack.length === 0) {
          throw invalid("it is no list or map");
        }
    }
  }

  #open(isMap: boolean): void {
    if (this.#depth === 0 && this.#isAtPath()) {
      this.#depth = this.#stack.length + 1;
      this.#isSingle = isMap;
      this.#start = isMap ? this.#position : -1;
    }
    this.#stack.push({ isMap, key: "0", isAtKey: isMap });
  }

  #isAtPath(): boolean {
    return (
      this.#stack.length === this.#path.length &&
      this.#stack.every(({ key }, index) => key === this.#path[index])
    );
  }

  #close(isMap: boolean, items: Json[]): void {
    if (this.#stack.at(-1)?.isMap !== isMap) {
      throw invalid("brackets do not match");
    }
    if (this.#depth > 0 && this.#stack.length === this.#depth) {
      if (this.#isSingle) {
        items.push(parseItem(this.#text.slice(this.#start, this.#position + 1)));
      }
      this.#isDone = true;
    }
    this.#stack.pop();
  }

  #next(): void {
    const frame = this.#stack.at(-1);
    if (frame?.isMap === true) {
      frame.isAtKey = true;
    } else if (frame !== undefined && this.#depth === 0) {
      frame.key = String(Number(frame.key) + 1);
    }
  }

  #colon(): void {
    const frame = this.#stack.at(-1);
    if (frame !== undefined) {
      frame.isAtKey = false;
    }
  }

  #finishItem(items: Json[]): void {
    if (this.#start !== -1) {
      items.push(parseItem(this.#text.slice(this.#start, this.#position)));
      this.#start = -1;
    }
  }

  /** Drops the text before what is still being read. */
  #forget(): void {
    const isAtValue = this.#depth === 0 && !this.#isInString;
    const kept = this.#isDone || this.#start === -1 || isAtValue ? this.#position : this.#start;
    this.#text = this.#text.slice(kept);
    this.#position -= kept;
    this.#start = this.#start === -1 || isAtValue ? -1 : 0;
    if (this.#text.length > ITEM_LENGTH_MAX) {
      const message = `source: one element of the answer is larger than ${ITEM_LENGTH_MAX} characters`;
      throw taskError("limit", "RESPONSE_TOO_LARGE", message);
    }
  }
}

function parseItem(text: string): Json {
  try {
    return parseJson(text);
  } catch (error) {
    throw invalid(errorMessage(error));
  }
}

function invalid(reason: string): Error {
  return taskError(
    "parse",
    "JSON_INVALID",
    `source: the answer is not the JSON of rows: ${reason}`,
  );
}
