/** The suite for real GPU machines (test/gpu), as far as it can be tried without one. */
import { describe, expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PROGRAMS, sourceOf } from "../../gpu/programs.ts";
import { makeScratchDir } from "../../support/scratch.ts";

const ROOT = join(import.meta.dir, "../../..");
const NVCC = Bun.which("nvcc");
const HAS_GPU = Bun.which("nvidia-smi") !== null;
/** The compiler takes seconds, on a busy machine many. */
const LIMIT_MS = 120_000;

function runSuite(path: string): { readonly exitCode: number; readonly text: string } {
  const { exitCode, stderr } = Bun.spawnSync([process.execPath, join(ROOT, "test/gpu/main.ts")], {
    cwd: ROOT,
    env: { PATH: path },
  });
  return { exitCode, text: stderr.toString() };
}

describe("the GPU suite refuses, with 2 and what is missing,", () => {
  test("a machine without nvidia-smi", () => {
    const { exitCode, text } = runSuite(makeScratchDir("path"));
    expect(exitCode).toBe(2);
    expect(text).toContain("cannot run here: there is no nvidia-smi");
  });

  test.each([
    ["without a GPU", "echo 'No devices were found'; exit 6", "No devices were found"],
    [
      "without a container runtime",
      'case "$1" in -L) echo "GPU 0: X (UUID: GPU-a)";; *) echo "0, GPU-a, X, 80, 1, Disabled";; esac',
      "no container runtime answers",
    ],
    [
      "whose GPUs are all cut",
      'case "$1" in -L) echo "GPU 0: X (UUID: GPU-a)";; *) echo "0, GPU-a, X, 80, 1, Enabled";; esac',
      "MIG slices",
    ],
  ])("a machine %s", (_what, script, message) => {
    const dir = makeScratchDir("path");
    writeFileSync(join(dir, "nvidia-smi"), `#!/bin/sh\n${script}\n`);
    chmodSync(join(dir, "nvidia-smi"), 0o755);
    const { exitCode, text } = runSuite(dir);
    expect(exitCode).toBe(2);
    expect(text).toContain(message);
  });
});

describe.skipIf(NVCC === null)("its CUDA programs, where there is nvcc,", () => {
  test.each([...PROGRAMS])(
    "%s compiles, and says without a GPU what CUDA says",
    (name) => {
      const dir = makeScratchDir("cuda");
      writeFileSync(join(dir, "main.cu"), sourceOf(name));
      const compiled = Bun.spawnSync(
        [NVCC ?? "nvcc", "-O3", "-arch=sm_80", "-o", "main", "main.cu"],
        {
          cwd: dir,
        },
      );
      expect(compiled.stderr.toString()).not.toContain("error");
      expect(compiled.exitCode).toBe(0);
      const ran = HAS_GPU ? undefined : Bun.spawnSync([join(dir, "main")], { cwd: dir });
      expect(ran?.exitCode ?? 1).toBe(1);
      expect(ran?.stderr.toString() ?? "CUDA error: ").toContain("CUDA error: ");
    },
    LIMIT_MS,
  );
});
