/** Amounts of processors and memory, as Kubernetes and docker write them. */
import type { Json } from "../../core/json.ts";

const CPU = /^(\d+(?:\.\d+)?)(m?)$/;
const BYTES = /^(\d+(?:\.\d+)?) *([bkmgtKMGTPE]?)(i?)(?:[bB]?)$/;

const POWERS: Readonly<Record<string, number>> = {
  "": 0,
  b: 0,
  k: 1,
  m: 2,
  g: 3,
  t: 4,
  p: 5,
  e: 6,
};

/** Processors: `2`, `0.5`, `"500m"`; undefined for anything else, also for nothing at all of them. */
export function parseCpu(value: Json | undefined): number | undefined {
  const found = isAmount(value) ? CPU.exec(String(value).trim()) : null;
  const count = Number(found?.[1]) / (found?.[2] === "m" ? 1000 : 1);
  return count > 0 ? count : undefined;
}

/**
 * Bytes of a number, or of a text: `512Mi`, `16Gi` by 1024; `512M`, `16G` by 1000 as Kubernetes reads them;
 * `512m`, `16g` by 1024 as docker does. Undefined for anything else, and for 0.
 */
export function parseBytes(value: Json | undefined): number | undefined {
  const found = isAmount(value) ? BYTES.exec(String(value).trim()) : null;
  const [, amount, unit = "", binary = ""] = found ?? [];
  const isDecimal = binary === "" && unit !== unit.toLowerCase();
  const power = POWERS[unit.toLowerCase()] ?? 0;
  const bytes = Math.floor(Number(amount) * (isDecimal ? 1000 : 1024) ** power);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}

function isAmount(value: Json | undefined): value is string | number {
  return typeof value === "string" || typeof value === "number";
}
