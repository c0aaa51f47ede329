/** The CUDA programs of this folder, each as one source. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const PROGRAMS = ["add", "hold", "oom", "fault"] as const;
export type Program = (typeof PROGRAMS)[number];

export function sourceOf(name: Program): string {
  const read = (file: string): string =>
    readFileSync(join(import.meta.dir, "programs", file), "utf8");
  return `${read("check.cuh")}\n${read(`${name}.cu`)}`;
}
