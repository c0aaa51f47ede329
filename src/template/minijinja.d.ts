/** What we use of minijinja-js below its entry point, which ships without types. */

declare module "minijinja-js/dist/bundler/minijinja_js_bg.js" {
  export class Environment {
    undefinedBehavior: "strict" | "chainable" | "lenient";
    keepTrailingNewline: boolean;
    fuel: number | null | undefined;
    addTemplate(name: string, source: string): void;
    removeTemplate(name: string): void;
    renderTemplate(name: string, context: object): string;
    addFilter(name: string, filter: (...values: unknown[]) => unknown): void;
    enablePyCompat(): void;
  }

  export function __wbg_set_wasm(exports: WebAssembly.Exports): void;
}

declare module "minijinja-js/dist/bundler/minijinja_js_bg.wasm" {
  /** Path of the file. */
  const path: string;
  export default path;
}
