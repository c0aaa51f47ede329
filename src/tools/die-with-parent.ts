import { dlopen } from "bun:ffi";

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9n;

/** From now on the kernel kills this process when the one that started it dies. Linux only. */
export function dieWithParent(): void {
  if (process.platform !== "linux") {
    return;
  }
  try {
    const libc = dlopen("libc.so.6", {
      prctl: { args: ["int", "u64", "u64", "u64", "u64"], returns: "int" },
    });
    libc.symbols.prctl(PR_SET_PDEATHSIG, SIGKILL, 0n, 0n, 0n);
  } catch {
    // Another C library: the closed connection ends this process, unless a task never yields.
  }
}
