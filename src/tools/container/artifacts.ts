/** Files that a task leaves below `/noetl/artifacts` become stored values, named by their paths. */
import type { CollectedArtifact } from "../../containers/runtime.ts";
import type { ExecutionId } from "../../core/ids.ts";
import { taskError } from "../task-error.ts";
import type { ToolCall, ToolContext } from "../tool.ts";

const AT_ONCE = 4;
/** More references than that are no result for people or templates any more. */
const COUNT_MAX = 1000;
const NAME_CHARS_MAX = 200;
const BYTES_TYPE = "application/octet-stream";

/**
 * By path, the references. The same content gives the same reference, so doing it again does no harm.
 *
 * @throws TaskError of kind `limit`; AppError for what the store refuses.
 */
export async function storeArtifacts(
  found: readonly CollectedArtifact[],
  { executionId, step }: Pick<ToolCall, "executionId" | "step">,
  { artifacts }: Pick<ToolContext, "artifacts">,
): Promise<Readonly<Record<string, string>>> {
  checkLimits(found);
  const references: [string, string][] = [];
  const rest = [...found];
  const store = async (): Promise<void> => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
      const { path, size, open } = next;
      const info = await artifacts.put(
        {
          executionId: executionId as ExecutionId,
          name: path,
          step,
          size,
          contentType: typeOf(path),
        },
        () => open(),
      );
      references.push([path, info.ref.$ref]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, found.length) }, store));
  return Object.fromEntries(references.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function checkLimits(found: readonly CollectedArtifact[]): void {
  if (found.length > COUNT_MAX) {
    const message = `The task left ${found.length} files below /noetl/artifacts, ${COUNT_MAX} may be: pack them into one`;
    throw taskError("limit", "ARTIFACTS_TOO_MANY", message);
  }
  const long = found.find(({ path }) => path.length > NAME_CHARS_MAX);
  if (long !== undefined) {
    const message = `The path of an artifact may have ${NAME_CHARS_MAX} characters: ${long.path}`;
    throw taskError("limit", "ARTIFACT_NAME", message);
  }
}

/** By the file's ending. */
function typeOf(path: string): string {
  return Bun.file(path).type.split(";")[0] || BYTES_TYPE;
}
