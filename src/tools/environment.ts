import type { Json } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";

/** What a process gets as its environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A task's `env`: null values are left out, others become text. Empty for anything but a map. */
export function taskEnvironment(env: Json | undefined): Readonly<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries(isJsonObject(env) ? env : {})) {
    if (value !== null) {
      texts[name] = typeof value === "object" ? JSON.stringify(value) : String(value);
    }
  }
  return texts;
}

/** In a sentence: this machine has no such program where the tasks' PATH leads; undefined: it has. */
export function missingProgram(program: string, env: Environment): string | undefined {
  return Bun.which(program, { PATH: env["PATH"] ?? "" }) === null
    ? `there is no program ${program} in the PATH`
    : undefined;
}
