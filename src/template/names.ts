/** The names of one template: which are bound inside it, and which paths it reads from outside. */
import type { Path } from "./path.ts";

/** What a compiled template needs from the scope before MiniJinja can run it. */
export interface Needs {
  readonly variables: readonly { readonly name: string; readonly path: Path }[];
  /** Names that the template may or may not have set itself by the time it reads them. */
  readonly wholes: readonly string[];
  readonly hasNow: boolean;
}

/** Name of the variable that holds the text of `now()`. */
export const NOW_VARIABLE = "now_";

export class Names {
  /** Innermost last. True: bound for sure; false: by a `set` that may not have run. */
  readonly #scopes: Map<string, boolean>[] = [new Map()];
  readonly #variables = new Map<string, { readonly name: string; readonly path: Path }>();
  readonly #wholes = new Set<string>();
  #hasNow = false;

  isBound(name: string): boolean {
    const scope = this.#scopes.findLast((names) => names.has(name));
    if (scope?.get(name) === false) {
      this.#wholes.add(name);
    }
    return scope !== undefined;
  }

  /** Binds names from here to the end of the innermost block. */
  bind(names: readonly string[], isSure: boolean): void {
    for (const name of names) {
      this.#scopes.at(-1)?.set(name, isSure);
    }
  }

  open(): void {
    this.#scopes.push(new Map());
  }

  close(): void {
    if (this.#scopes.length > 1) {
      this.#scopes.pop();
    }
  }

  /** The variable that holds the value of `path`. */
  variable(path: Path): string {
    const key = JSON.stringify([path.probe ?? "", path.root, ...path.steps]);
    const known = this.#variables.get(key);
    if (known !== undefined) {
      return known.name;
    }
    const name = `v${this.#variables.size}_`;
    this.#variables.set(key, { name, path });
    return name;
  }

  now(): string {
    this.#hasNow = true;
    return NOW_VARIABLE;
  }

  needs(): Needs {
    return {
      variables: [...this.#variables.values()],
      wholes: [...this.#wholes],
      hasNow: this.#hasNow,
    };
  }
}
