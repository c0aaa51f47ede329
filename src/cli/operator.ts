/** What operators may ask databases: wires the HTTP route to the tools' connections. */
import { AppError } from "../core/errors.ts";
import type { Secret } from "../core/secret.ts";
import type { Orchestrator } from "../orchestrator/orchestrator.ts";
import type { OperatorOptions } from "../server/route-context.ts";
import type { Target } from "../tools/postgres/connection.ts";
import { findTarget } from "../tools/postgres/connection.ts";
import { runOperatorStatement } from "../tools/postgres/operator-query.ts";

export interface OperatorWiring {
  readonly token: Secret | undefined;
  /** Of the platform. */
  readonly databaseUrl: Secret;
  readonly orchestrator: Pick<Orchestrator, "openCredential">;
}

export function createOperator({
  token,
  databaseUrl,
  orchestrator,
}: OperatorWiring): OperatorOptions {
  return {
    token: token?.reveal(),
    query: async ({ credential, database, ...request }) => {
      const target =
        credential === undefined
          ? { url: databaseUrl.reveal() }
          : await credentialTarget(orchestrator, credential, database);
      return await runOperatorStatement(target, request);
    },
  };
}

/** @throws AppError not_found CREDENTIAL_NOT_FOUND, invalid CREDENTIAL_UNFIT. */
async function credentialTarget(
  orchestrator: OperatorWiring["orchestrator"],
  name: string,
  database: string | undefined,
): Promise<Target> {
  const target = await findTarget(
    { auth: name, ...(database === undefined ? {} : { database }) },
    { credential: async () => ({ name, ...(await orchestrator.openCredential(name)) }) },
  );
  if (target === undefined) {
    const message = `Credential ${name} names no PostgreSQL: it has neither a host nor a URL`;
    throw new AppError("invalid", "CREDENTIAL_UNFIT", message);
  }
  return target;
}
