/**
 * MiniJinja's WebAssembly module, read once, at the first template that needs it. This is the one
 * file of the folder that touches the disk: it reads its own code, which the compiled binary
 * carries inside itself.
 */
import { readFileSync } from "node:fs";
import wasmPath from "minijinja-js/dist/bundler/minijinja_js_bg.wasm" with { type: "file" };

/** 256 MiB in pages of 64 KiB: a template that needs more is a mistake or an attack. */
const MEMORY_PAGES_MAX = 4096;
const HEADER_LENGTH = 8;
const MEMORY_SECTION = 5;
const LIMITS_WITH_MAXIMUM = 1;

let loaded: WebAssembly.Module | undefined;

export function loadMiniJinja(): WebAssembly.Module {
  loaded ??= new WebAssembly.Module(limitMemory(readFileSync(wasmPath)));
  return loaded;
}

/** Writes a maximum into the memory section. See https://webassembly.github.io/spec/core/binary/. */
function limitMemory(code: Uint8Array): Uint8Array<ArrayBuffer> {
  let position = HEADER_LENGTH;
  while (position < code.length) {
    const start = position;
    const size = readNumber(code, start + 1);
    position = size.end + size.value;
    if (code[start] === MEMORY_SECTION) {
      const minimum = readNumber(code, size.end + 2).value;
      const limits = [
        LIMITS_WITH_MAXIMUM,
        ...numberBytes(minimum),
        ...numberBytes(MEMORY_PAGES_MAX),
      ];
      const section = [MEMORY_SECTION, limits.length + 1, 1, ...limits];
      return new Uint8Array([...code.subarray(0, start), ...section, ...code.subarray(position)]);
    }
  }
  throw new Error("The template engine's WebAssembly module has no memory section");
}

/** LEB128, unsigned. */
function readNumber(
  code: Uint8Array,
  from: number,
): { readonly value: number; readonly end: number } {
  let value = 0;
  let end = from;
  let byte = 0x80;
  for (let shift = 0; (byte & 0x80) !== 0; shift += 7) {
    byte = code[end++] ?? 0;
    value |= (byte & 0x7f) << shift;
  }
  return { value, end };
}

function numberBytes(value: number): readonly number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...numberBytes(value >>> 7)];
}
