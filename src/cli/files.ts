/** Files that a command was given, with those of folders. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "./context.ts";

/**
 * Files as they are named, and of folders all below them that match, in order.
 *
 * @throws UsageError when that is none.
 */
export async function expandPaths(
  paths: readonly string[],
  pattern: string,
  isWanted: (path: string) => boolean = () => true,
): Promise<readonly string[]> {
  const found: string[] = [];
  for (const path of paths) {
    const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true;
    const inside = isFolder ? [...new Bun.Glob(pattern).scanSync({ cwd: path })].sort() : [];
    found.push(...(isFolder ? inside.filter(isWanted).map((name) => join(path, name)) : [path]));
  }
  if (found.length === 0) {
    throw new UsageError(`No file matches ${pattern} in ${paths.join(", ")}`);
  }
  return found;
}
