/** The image of the tests with containers: busybox, made without a registry. */
import { chmodSync, copyFileSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { makeScratchDir } from "./scratch.ts";

export const TEST_IMAGE = "localhost/noetl-test:1";
/** For `import`: programs are found, and like CUDA's images it asks for all GPUs. */
export const IMAGE_CHANGES = [
  "--change=ENV PATH=/bin",
  "--change=ENV NVIDIA_VISIBLE_DEVICES=all",
] as const;

let archive: string | undefined;

/** Path of a tar of a root file system. */
export function imageArchive(): string {
  archive ??= makeArchive();
  return archive;
}

function makeArchive(): string {
  const dir = makeScratchDir("image");
  const root = join(dir, "root");
  for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp", "run", "home"]) {
    mkdirSync(join(root, name), { recursive: true });
  }
  // As in every image: a file system that is mounted there keeps it.
  chmodSync(join(root, "tmp"), 0o1777);
  const busybox = join(root, "bin/busybox");
  copyFileSync(Bun.which("busybox") ?? "", busybox);
  for (const applet of Bun.spawnSync([busybox, "--list"]).stdout.toString().trim().split("\n")) {
    if (applet !== "busybox") {
      symlinkSync("busybox", join(root, "bin", applet));
    }
  }
  const path = join(dir, "image.tar");
  Bun.spawnSync(["tar", "--create", `--file=${path}`, `--directory=${root}`, "."]);
  return path;
}
