import { parse } from "yaml";
import { isJsonObject } from "../core/json.ts";

/**
 * The pools that a playbook names anywhere, so that each gets a worker; `default` when it names
 * none. Templates are no names. Sub-playbooks may name others: ask for those with `--pool`.
 */
export function findPools(content: string): readonly string[] {
  const found = new Set<string>();
  collect(read(content), found);
  return found.size === 0 ? ["default"] : ["default", ...found].filter(isNew);
}

function read(content: string): unknown {
  try {
    return parse(content);
  } catch {
    // The server says what is wrong, with line and column.
    return undefined;
  }
}

function collect(value: unknown, found: Set<string>): void {
  if (Array.isArray(value)) {
    for (const item of value) {
      collect(item, found);
    }
  } else if (isJsonObject(value)) {
    for (const [key, inner] of Object.entries(value)) {
      if (key === "pool" && typeof inner === "string" && /^[\w-]+$/.test(inner)) {
        found.add(inner);
      }
      collect(inner, found);
    }
  }
}

function isNew(name: string, index: number, names: readonly string[]): boolean {
  return names.indexOf(name) === index;
}
