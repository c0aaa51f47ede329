/** The page in a real browser, where there is one: nothing installs it. */
import { makeScratchDir } from "../../support/scratch.ts";

const CHROMIUM = Bun.which("chromium");
export const PAGE_IS_TESTED = CHROMIUM !== null;

const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
  // Time in the page runs ahead while nothing is loaded, and the page is printed when it is over.
  "--virtual-time-budget=4000",
];

/** The document after its scripts have run. */
export async function openPage(url: string): Promise<string> {
  const profile = `--user-data-dir=${makeScratchDir("chromium")}`;
  const child = Bun.spawn([CHROMIUM ?? "", ...FLAGS, profile, "--dump-dom", url], {
    stdout: "pipe",
    stderr: "ignore",
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  return await new Response(child.stdout).text();
}
