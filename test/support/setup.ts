/** Preloaded by every `bun test`, see bunfig.toml: stops what the test files have started. */
import { afterAll } from "bun:test";
import { runCleanups } from "./scratch.ts";

afterAll(async () => {
  await runCleanups();
});
