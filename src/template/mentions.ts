/** The paths that templates inside a value read from outside. */
import type { Json } from "../core/json.ts";
import { compile, readNeeds } from "./compile.ts";
import { isTemplate } from "./lexer.ts";
import type { Path } from "./path.ts";

/**
 * In no particular order, with repetitions. A path ends where the template goes on with a name that
 * it computes. Texts that are no readable templates mention nothing.
 */
export function mentionedPaths(value: Json): readonly Path[] {
  const paths: Path[] = [];
  collect(value, paths);
  return paths;
}

function collect(value: Json, paths: Path[]): void {
  if (typeof value === "string") {
    for (const needs of isTemplate(value) ? needsOf(value) : []) {
      paths.push(...needs.variables.map(({ path }) => path));
      paths.push(...needs.wholes.map((root) => ({ root, steps: [] })));
    }
  } else if (typeof value === "object" && value !== null) {
    for (const child of Object.values(value)) {
      collect(child, paths);
    }
  }
}

function needsOf(text: string): ReturnType<typeof readNeeds> {
  try {
    return readNeeds(compile(text));
  } catch {
    // Whoever renders it says what is wrong.
    return [];
  }
}
