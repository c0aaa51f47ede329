/**
 * `bun run test:gpu`: the suite for machines with NVIDIA GPUs, see README.md. Ends with 2, and says what is missing,
 * where it cannot run.
 */
import { join } from "node:path";
import { findObstacle } from "./machine.ts";

const ROOT = join(import.meta.dir, "../..");
/** For one test, with an image that must be pulled first. */
const LIMIT_MS = 1_800_000;

const obstacle = findObstacle();
if (obstacle !== undefined) {
  process.stderr.write(`The GPU suite cannot run here: ${obstacle}\nSee test/gpu/README.md.\n`);
  process.exit(2);
}
const suite = Bun.spawn(
  [
    process.execPath,
    "test",
    "--timeout",
    String(LIMIT_MS),
    "./test/gpu/suite.ts",
    ...process.argv.slice(2),
  ],
  { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] },
);
process.exit(await suite.exited);
