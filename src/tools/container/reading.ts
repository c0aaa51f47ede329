/** Helps to read maps inside a task's fields: what is wrong with them is collected as sentences. */
import type { Json, JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import { suggestion } from "../../template/nearest.ts";

/** Collects sentences that begin with the field in backquotes. */
export class Problems {
  readonly messages: string[] = [];

  add(field: string, text: string): undefined {
    this.messages.push(`\`${field}\` ${text}`);
    return undefined;
  }

  /** Says which keys of the map mean nothing. */
  checkKeys(field: string, map: JsonObject, keys: readonly string[]): void {
    for (const key of Object.keys(map).filter((name) => !keys.includes(name))) {
      this.add(
        `${field}.${key}`,
        `means nothing${suggestion(key, keys)} There is ${keys.join(", ")}`,
      );
    }
  }

  /** The map under that name; empty when there is none. */
  map(owner: JsonObject, name: string, keys: readonly string[] | undefined): JsonObject {
    const value = owner[name];
    if (!isGiven(value)) {
      return {};
    }
    if (!isJsonObject(value)) {
      this.add(name, "must be a map");
      return {};
    }
    if (keys !== undefined) {
      this.checkKeys(name, value, keys);
    }
    return value;
  }

  /** Reads a value that is there; undefined with a sentence if it cannot be read. */
  read<T>(
    field: string,
    value: Json | undefined,
    take: (value: Json) => T | undefined,
    wanted: string,
  ): T | undefined {
    if (!isGiven(value)) {
      return undefined;
    }
    const taken = take(value);
    return taken ?? this.add(field, `must be ${wanted}, not ${shown(value)}`);
  }
}

/** Null and empty text count as absent. */
export function isGiven(value: Json | undefined): value is Json {
  return value !== undefined && value !== null && value !== "";
}

export function shown(value: Json): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** Texts of a list of scalars, or of one; undefined for anything else. */
export function textsOf(value: Json): readonly string[] | undefined {
  const items: readonly Json[] = Array.isArray(value) ? value : [value];
  return items.every((item) => typeof item !== "object") ? items.map(String) : undefined;
}

export function textOf(value: Json): string | undefined {
  return typeof value === "object" ? undefined : String(value);
}

export function flagOf(value: Json): boolean | undefined {
  switch (value) {
    case true:
    case "true":
      return true;
    case false:
    case "false":
      return false;
    default:
      return undefined;
  }
}

/** A map of texts; undefined if one of its values is none. */
export function textMapOf(value: Json): Readonly<Record<string, string>> | undefined {
  const entries = isJsonObject(value) ? Object.entries(value) : undefined;
  return entries?.every(([, item]) => item !== null && typeof item !== "object")
    ? Object.fromEntries(entries.map(([name, item]) => [name, String(item)]))
    : undefined;
}
