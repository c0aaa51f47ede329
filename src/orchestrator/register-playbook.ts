/** Registration: only documents without errors get in. */
import { createHash } from "node:crypto";
import { AppError } from "../core/errors.ts";
import type { CatalogId } from "../core/ids.ts";
import type { Diagnostic } from "../dsl/diagnostic.ts";
import { parsePlaybook } from "../dsl/parse.ts";
import { savePlaybook } from "../store/catalog.ts";
import { databaseError } from "../store/sqlstate.ts";
import type { NodeIds } from "./node-ids.ts";
import type { OrchestratorOptions } from "./options.ts";

export interface RegisterRequest {
  /** YAML. */
  readonly content: string;
  /** True: warnings refuse the document too. */
  readonly isStrict: boolean;
}

export interface RegisteredPlaybook {
  readonly catalogId: CatalogId;
  readonly path: string;
  readonly version: number;
  readonly warnings: readonly Diagnostic[];
}

/**
 * Stores the document as the next version of its path; the same content again gives the same version.
 *
 * @throws AppError invalid PLAYBOOK_INVALID with all of `details.diagnostics`.
 */
export async function registerPlaybook(
  { store, knownTools }: Pick<OrchestratorOptions, "store" | "knownTools">,
  ids: NodeIds,
  { content, isStrict }: RegisterRequest,
): Promise<RegisteredPlaybook> {
  const { playbook, diagnostics } = parsePlaybook(content, { knownTools });
  const faults = isStrict
    ? diagnostics
    : diagnostics.filter(({ severity }) => severity === "error");
  if (playbook === undefined || faults.length > 0) {
    const [first] = faults;
    const message = `The playbook has ${faults.length} faults, the first: ${first?.message ?? ""}`;
    throw new AppError("invalid", "PLAYBOOK_INVALID", message, { details: { diagnostics } });
  }
  try {
    await ids.acquire();
    const contentHash = createHash("sha256").update(content).digest("hex");
    const catalogId = ids.newId<CatalogId>();
    const saved = await savePlaybook(store.durable, { catalogId, content, contentHash, playbook });
    return { ...saved, warnings: diagnostics };
  } catch (error) {
    throw databaseError(error);
  }
}
