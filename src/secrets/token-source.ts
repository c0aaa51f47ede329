/** Which credentials are exchanged for tokens before anybody gets them, and how. */
import type { JsonObject } from "../core/json.ts";
import { canonicalType, withCanonicalFields } from "./credential-type.ts";
import { fetchGoogleToken } from "./token/google.ts";
import { fetchOauth2Token } from "./token/oauth2.ts";
import type { Token } from "./token/token.ts";

export interface TokenSource {
  /** @param kept what the token before left behind. */
  readonly fetch: (kept: JsonObject | undefined) => Promise<Token>;
}

/**
 * Undefined for credentials that are handed out as they are.
 *
 * @param data resolved: without references.
 */
export function tokenSource(type: string, data: JsonObject): TokenSource | undefined {
  const fields = withCanonicalFields(type, data);
  switch (canonicalType(type)) {
    case "oauth2":
      return fields["token_url"] === undefined || fields["client_id"] === undefined
        ? undefined
        : { fetch: async (kept) => await fetchOauth2Token(fields, kept) };
    case "gcp":
      return ["private_key", "refresh_token", "service_account"].some((name) => name in fields)
        ? { fetch: async (kept) => await fetchGoogleToken(fields, kept) }
        : undefined;
    default:
      return undefined;
  }
}
