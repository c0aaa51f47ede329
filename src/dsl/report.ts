/** Collects what the parser has to say, and reads fields of maps while doing so. */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { suggestion } from "../template/nearest.ts";
import type { Diagnostic } from "./diagnostic.ts";
import type { Source } from "./yaml.ts";
import { joinPath } from "./yaml.ts";

const DIAGNOSTICS_MAX = 1000;

export class Report {
  readonly #locate: Source["locate"];
  readonly #diagnostics: Diagnostic[];

  constructor(source: Source) {
    this.#locate = source.locate;
    this.#diagnostics = [...source.diagnostics];
  }

  error(code: string, path: string, message: string): void {
    this.#add("error", code, path, message);
  }

  warn(code: string, path: string, message: string): void {
    this.#add("warning", code, path, message);
  }

  get hasErrors(): boolean {
    return this.#diagnostics.some((diagnostic) => diagnostic.severity === "error");
  }

  /** In the order of the document. Of very many only the first, errors before warnings. */
  sorted(): readonly Diagnostic[] {
    const kept = this.#diagnostics
      .toSorted((left, right) => left.severity.localeCompare(right.severity))
      .slice(0, DIAGNOSTICS_MAX);
    return kept.sort((left, right) => left.line - right.line || left.column - right.column);
  }

  #add(severity: Diagnostic["severity"], code: string, path: string, message: string): void {
    this.#diagnostics.push({ severity, code, message, path, ...this.#locate(path) });
  }
}

/** One map of the document. A key whose value is null counts as absent. */
export class Fields {
  readonly report: Report;
  readonly map: JsonObject;
  readonly path: string;

  constructor(report: Report, map: JsonObject, path: string) {
    this.report = report;
    this.map = map;
    this.path = path;
  }

  /** The fields of `value`, which must be a map; of an empty one otherwise. */
  static of(report: Report, value: Json | undefined, path: string): Fields {
    if (value !== undefined && value !== null && !isJsonObject(value)) {
      report.error("FIELD_NOT_MAP", path, `${lastName(path)} must be a map`);
    }
    return new Fields(report, isJsonObject(value) ? value : {}, path);
  }

  at(key: string): string {
    return joinPath(this.path, key);
  }

  get(key: string): Json | undefined {
    return Object.hasOwn(this.map, key) ? (this.map[key] ?? undefined) : undefined;
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** The first of the keys that is there. */
  firstOf(keys: readonly string[]): string | undefined {
    return keys.find((key) => this.has(key));
  }

  error(code: string, key: string, message: string): void {
    this.report.error(code, this.at(key), message);
  }

  warn(code: string, key: string, message: string): void {
    this.report.warn(code, this.at(key), message);
  }

  /** A legacy form: accepted, with the way to write it today. */
  legacy(key: string, message: string): void {
    this.warn("LEGACY_FORM", key, message);
  }

  fields(key: string): Fields {
    return Fields.of(this.report, this.get(key), this.at(key));
  }

  /** Like fields, for the value and its place as they are. */
  list(key: string): readonly Json[] {
    const value = this.get(key);
    if (value !== undefined && !Array.isArray(value)) {
      this.error("FIELD_NOT_LIST", key, `${key} must be a list`);
    }
    return Array.isArray(value) ? (value as readonly Json[]) : [];
  }

  text(key: string): string | undefined {
    const value = this.get(key);
    if (typeof value === "object") {
      this.error("FIELD_NOT_TEXT", key, `${key} must be a text`);
      return undefined;
    }
    return value === undefined ? undefined : String(value);
  }

  flag(key: string): boolean | undefined {
    const value = this.get(key);
    if (value === undefined || typeof value === "boolean") {
      return value;
    }
    this.error("FIELD_NOT_BOOLEAN", key, `${key} must be true or false`);
    return undefined;
  }

  /** An integer from `minimum` on; a text of digits counts too. */
  integer(key: string, minimum: number): number | undefined {
    const value = this.get(key);
    const number = typeof value === "string" && /^\d+$/.test(value.trim()) ? Number(value) : value;
    if (number === undefined) {
      return undefined;
    }
    if (typeof number === "number" && Number.isInteger(number) && number >= minimum) {
      return number;
    }
    this.error("FIELD_NOT_INTEGER", key, `${key} must be a whole number from ${minimum} on`);
    return undefined;
  }

  choice<T extends string>(key: string, choices: readonly T[], code: string): T | undefined {
    const value = this.get(key);
    const choice = choices.find((candidate) => candidate === value);
    if (value !== undefined && choice === undefined) {
      const near = typeof value === "string" ? suggestion(value, choices) : "";
      this.error(code, key, `${key} must be one of ${choices.join(", ")}${near}`);
    }
    return choice;
  }

  textList(key: string): readonly string[] {
    return this.list(key).flatMap((item, index) => {
      if (typeof item === "string") {
        return [item];
      }
      this.report.error("FIELD_NOT_TEXT", `${this.at(key)}[${index}]`, `${key} holds texts only`);
      return [];
    });
  }

  /** Warns of keys that are not known. `ignored` ones are known and have no effect. */
  checkKeys(known: readonly string[], ignored: readonly string[] = []): void {
    for (const key of Object.keys(this.map)) {
      if (ignored.includes(key)) {
        this.warn("FIELD_IGNORED", key, `${key} has no effect here`);
      } else if (!known.includes(key)) {
        const near = suggestion(key, known);
        this.warn("FIELD_UNKNOWN", key, `unknown field "${key}"${near}`);
      }
    }
  }
}

function lastName(path: string): string {
  return /[^.[\]"]+(?=[\]"]*$)/.exec(path)?.[0] ?? "the document";
}
