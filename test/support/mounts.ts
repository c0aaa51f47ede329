/** Mounts that container runtimes leave below a folder. */
import { readFileSync } from "node:fs";

/** Detaches them all, so that the folder can be removed without touching what was mounted. */
export function removeMounts(dir: string): void {
  const mounts = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.startsWith(`${dir}/`))
    .sort((a, b) => b.length - a.length);
  for (const path of mounts) {
    Bun.spawnSync(["umount", "--lazy", path]);
  }
}
