/** What this build is. The constants are put in by `.ci/build.ts`; from source they are absent. */
import manifest from "../../package.json" with { type: "json" };

declare const BUILD_COMMIT: string | undefined;

export const VERSION: string = manifest.version;

/** Short hash of the commit, or `source`. */
export const COMMIT: string = typeof BUILD_COMMIT === "string" ? BUILD_COMMIT : "source";

/** Program and first arguments that start this same noetl again. */
export function selfCommand(): readonly string[] {
  const isCompiled = import.meta.path.startsWith("/$bunfs/");
  return isCompiled ? [process.execPath] : [process.execPath, `${import.meta.dir}/../main.ts`];
}
