/**
 * MiniJinja, and what keeps it going.
 *
 * One instance serves every template of the process, one after the other. It is thrown away and
 * made anew after a trap (out of memory, stack overflow, a panic), because its memory is in an
 * unknown state then. What survives is nothing but programs, which load themselves again.
 */
import * as glue from "minijinja-js/dist/bundler/minijinja_js_bg.js";
import { TemplateFault } from "./error.ts";
import { FILTERS, machineName } from "./filter.ts";
import { loadMiniJinja } from "./wasm.ts";

/** Instructions of one rendering: about 0.2 s of an endless loop. */
const FUEL = 10_000_000;
const GLUE_MODULE = "./minijinja_js_bg.js";

/** Hands an expression's value over to JavaScript with its type. */
export const OUT_FILTER = machineName("out");
/** MiniJinja's own words for an integer beyond 2^53 on its way into JavaScript. */
const WIDE_INTEGER = "can't be represented as a JavaScript number";

export interface Program {
  readonly text: string;
  /** For results that hold integers beyond 2^53: gives text. */
  readonly wideText: string;
  /** Set while the instance of that number knows the program. */
  instance: number;
  readonly name: string;
}

export type ProgramResult =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "wide"; readonly text: string };

class Machine {
  #environment: glue.Environment | undefined;
  #memory: WebAssembly.Memory | undefined;
  /** Never collected: their finalizers would free memory of a later instance. */
  readonly #retired: glue.Environment[] = [];
  #instance = 0;
  #programCount = 0;
  #captured: { readonly value: unknown } | undefined;
  #fault: unknown;

  createProgram(text: string, wideText: string): Program {
    return { text, wideText, instance: 0, name: `t${++this.#programCount}` };
  }

  /** Loads the program without running it. @throws TemplateFault on a syntax error. */
  check(program: Program): void {
    this.#fault = undefined;
    this.#guard(() => this.#load(program));
  }

  /** @throws TemplateFault on everything that goes wrong. */
  run(program: Program, context: object): ProgramResult {
    this.#fault = undefined;
    return this.#guard(() => {
      this.#load(program);
      try {
        return this.#render(program.name, context);
      } catch (error) {
        if (error instanceof Error && error.message.includes(WIDE_INTEGER)) {
          return this.#renderWide(program, context);
        }
        throw error;
      }
    });
  }

  remove(program: Program): void {
    if (this.#environment !== undefined && program.instance === this.#instance) {
      this.#environment.removeTemplate(program.name);
    }
  }

  #render(name: string, context: object): ProgramResult {
    this.#captured = undefined;
    const text = this.#started().renderTemplate(name, context);
    this.#throwFault();
    const captured = this.#takeCaptured();
    return captured === undefined
      ? { kind: "text", text }
      : { kind: "value", value: captured.value };
  }

  #renderWide(program: Program, context: object): ProgramResult {
    const environment = this.#started();
    this.#fault = undefined;
    environment.addTemplate("wide", program.wideText);
    try {
      const text = environment.renderTemplate("wide", context);
      this.#throwFault();
      return { kind: "wide", text };
    } finally {
      environment.removeTemplate("wide");
    }
  }

  #load(program: Program): void {
    const environment = this.#started();
    if (program.instance !== this.#instance) {
      environment.addTemplate(program.name, program.text);
      program.instance = this.#instance;
    }
  }

  #guard<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      const fault = this.#fault ?? error;
      if (fault instanceof TemplateFault) {
        throw fault;
      }
      if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) {
        this.#retire();
        throw new TemplateFault("it needs too much memory or nests too deep", { cause: error });
      }
      throw new TemplateFault(readReason(error), { cause: error });
    }
  }

  #throwFault(): void {
    if (this.#fault !== undefined) {
      throw this.#fault;
    }
  }

  #takeCaptured(): { readonly value: unknown } | undefined {
    const captured = this.#captured;
    this.#captured = undefined;
    return captured;
  }

  #retire(): void {
    if (this.#environment !== undefined) {
      this.#retired.push(this.#environment);
    }
    // The glue keeps views of the memory and drops them only when the buffer is detached.
    this.#memory?.grow(0);
    this.#environment = undefined;
  }

  #started(): glue.Environment {
    this.#environment ??= this.#start();
    return this.#environment;
  }

  #start(): glue.Environment {
    const instance = new WebAssembly.Instance(loadMiniJinja(), { [GLUE_MODULE]: readImports() });
    const memory = instance.exports["memory"];
    this.#memory = memory instanceof WebAssembly.Memory ? memory : undefined;
    this.#instance++;
    glue.__wbg_set_wasm(instance.exports);
    const environment = new glue.Environment();
    environment.enablePyCompat();
    environment.undefinedBehavior = "chainable";
    environment.keepTrailingNewline = true;
    environment.fuel = FUEL;
    this.#addFilters(environment);
    return environment;
  }

  #addFilters(environment: glue.Environment): void {
    for (const [name, filter] of FILTERS) {
      environment.addFilter(machineName(name), (...values) => this.#call(filter.run, values));
    }
    environment.addFilter(OUT_FILTER, (value) => {
      this.#captured = { value };
      return "";
    });
  }

  /** Never throws: that would break the instance. The fault is thrown when it has returned. */
  #call(
    run: (value: unknown, values: readonly unknown[], named: Record<string, unknown>) => unknown,
    values: readonly unknown[],
  ): unknown {
    try {
      const [value, ...rest] = values.map(fromMachine);
      const named = readNamed(rest.at(-1));
      return run(value, named === undefined ? rest : rest.slice(0, -1), named ?? {});
    } catch (error) {
      this.#fault ??= error;
      return undefined;
    }
  }
}

export const MACHINE = new Machine();

/** The glue's functions, without the one that prints panics to the console. */
function readImports(): Bun.WebAssembly.ModuleImports {
  const entries = Object.entries(glue).map(([name, value]) =>
    name.startsWith("__wbg_error_") ? ([name, ignore] as const) : ([name, value] as const),
  );
  return Object.fromEntries(entries) as Bun.WebAssembly.ModuleImports;
}

function ignore(): void {
  // A trap follows and is reported.
}

/** Maps become objects. */
function fromMachine(value: unknown): unknown {
  if (value instanceof Map) {
    return Object.fromEntries(
      [...value].map(([key, child]: [unknown, unknown]) => [String(key), fromMachine(child)]),
    );
  }
  return Array.isArray(value) ? value.map(fromMachine) : value;
}

/** Named arguments carry the mark that writeExpression puts among them. */
function readNamed(value: unknown): Record<string, unknown> | undefined {
  const isNamed = typeof value === "object" && value !== null && "named_" in value;
  return isNamed ? Object.fromEntries(Object.entries(value)) : undefined;
}

/** MiniJinja's message: its first line without the place, which names no text of the author's. */
function readReason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const line = message.split("\n", 1)[0] ?? "";
  return line.replace(/ \(in [^)]*\)$/, "").replace(/^invalid operation: /, "");
}
