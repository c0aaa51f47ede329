/** Opens credentials: what is stored, what providers hold for it, and the token it is exchanged for. */
import { AppError } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { openCredential } from "../secrets/credential.ts";
import { fieldsFrom, withCanonicalFields } from "../secrets/credential-type.ts";
import { createMask, secretValues } from "../secrets/mask.ts";
import type { Providers } from "../secrets/providers.ts";
import { resolveReferences } from "../secrets/providers.ts";
import type { Reference } from "../secrets/reference.ts";
import { isReference } from "../secrets/reference.ts";
import type { Sealer } from "../secrets/sealing.ts";
import type { TokenSource } from "../secrets/token-source.ts";
import { tokenSource } from "../secrets/token-source.ts";
import type { CredentialRow } from "../store/credential.ts";
import { findCredential } from "../store/credential.ts";
import type { Store } from "../store/pool.ts";
import type { KeychainCache } from "./keychain-cache.ts";

export interface OpenedCredential {
  readonly row: CredentialRow;
  /** Without references, each field also under its type's own name. */
  readonly data: JsonObject;
  /** Undefined: it is handed out as it is. */
  readonly token: TokenSource | undefined;
}

/** What a worker gets. */
export interface SecretValue {
  readonly data: JsonObject;
  /** Names the value, for one that can be fetched anew when it is refused; else "". */
  readonly version: string;
}

export interface SecretSourceOptions {
  readonly store: Store;
  readonly secrets: Sealer;
  readonly providers: Providers;
  readonly cache: KeychainCache;
}

/** Credentials may need others to be read: so deep at most. */
const DEPTH_MAX = 5;

export class SecretSource {
  readonly #options: SecretSourceOptions;

  constructor(options: SecretSourceOptions) {
    this.#options = options;
  }

  /** @throws AppError not_found CREDENTIAL_NOT_FOUND, and what providers throw. */
  async open(name: string, depth = 0): Promise<OpenedCredential> {
    const row = await this.find(name);
    if (row === undefined) {
      throw new AppError("not_found", "CREDENTIAL_NOT_FOUND", `There is no credential ${name}`);
    }
    return await this.openRow(row, depth);
  }

  async find(name: string): Promise<CredentialRow | undefined> {
    return await findCredential(this.#options.store.durable, name);
  }

  async openRow(row: CredentialRow, depth = 0): Promise<OpenedCredential> {
    if (depth > DEPTH_MAX) {
      const message = `Credential ${row.name} leads in a circle: its reference needs a credential that needs it`;
      throw new AppError("invalid", "CREDENTIAL_CYCLE", message);
    }
    const stored = openCredential(this.#options.secrets, row);
    const read = async (reference: Reference): Promise<Json> => await this.read(reference, depth);
    const whole = isReference(stored) ? fieldsFrom(row.type, await read(stored)) : stored;
    if (whole === undefined) {
      const message = `Credential ${row.name}: its provider gives a text, but type ${row.type} has no field for it; put the reference below a field`;
      throw new AppError("invalid", "CREDENTIAL_SHAPELESS", message);
    }
    const data = withCanonicalFields(row.type, await resolveReferences(whole, read));
    return { row, data, token: tokenSource(row.type, data) };
  }

  /** What a reference stands for. */
  async read(reference: Reference, depth = 0): Promise<Json> {
    const auth = reference["auth"];
    const token =
      typeof auth === "string" && auth !== ""
        ? async () => await this.accessToken(auth, depth + 1)
        : undefined;
    return await this.#options.providers.read(reference, token);
  }

  /** The token that a credential is, or is exchanged for. */
  async accessToken(name: string, depth = 0): Promise<string> {
    const { data } = await this.value(await this.open(name, depth));
    const token = data["token"] ?? data["access_token"];
    if (typeof token !== "string") {
      const message = `Credential ${name} gives no token`;
      throw new AppError("invalid", "TOKEN_MISSING", message);
    }
    return token;
  }

  /** @param refusedVersion of the value that somebody refused. */
  async value(
    { row, data, token }: OpenedCredential,
    refusedVersion?: string,
  ): Promise<SecretValue> {
    if (token === undefined) {
      return { data, version: "" };
    }
    const value = await this.#options.cache.get({
      place: {
        // Another key once the credential is saved again: its tokens were the old one's.
        cacheKey: `credential:${row.credentialId}:${row.updatedAtMs}`,
        name: row.name,
        scope: "shared",
        catalogId: undefined,
        executionId: undefined,
      },
      isAutoRenewed: false,
      refusedVersion: readVersion(refusedVersion),
      fetch: async (kept) => await unrevealing(data, async () => await token.fetch(kept)),
    });
    return { data: value.data, version: String(value.version) };
  }
}

export function readVersion(text: string | undefined): number | undefined {
  return text === undefined || text === "" ? undefined : Number(text);
}

/** Errors of remote sides may repeat what was sent: they lose the secrets in `data`. */
export async function unrevealing<T>(data: JsonObject, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof AppError)) {
      throw error;
    }
    const { kind, code, details } = error;
    throw masked(kind, code, createMask(secretValues(data)).text(error.message), details);
  }
}

/** Without the cause, whose message is the unmasked one. */
function masked(
  kind: AppError["kind"],
  code: string,
  message: string,
  details: AppError["details"],
): AppError {
  return new AppError(kind, code, message, details === undefined ? {} : { details });
}
