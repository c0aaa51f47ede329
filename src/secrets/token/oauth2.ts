/** OAuth 2.0: client credentials, or a refresh token. See RFC 6749, sections 4.4 and 6. */
import type { JsonObject } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Token } from "./token.ts";
import { readToken, requestToken, scopeText, textOf } from "./token.ts";

/**
 * @param data fields of a credential of type oauth2 by their own names: `token_url`, `client_id`,
 *   `client_secret`, `refresh_token`, `scope`, `audience`, `auth_style` (`body`, or `basic`),
 *   `params` (more fields of the request), `headers`.
 * @param kept of the token before: a newer refresh token.
 * @throws AppError unavailable SECRET_SOURCE_UNAVAILABLE, forbidden SECRET_DENIED, invalid.
 */
export async function fetchOauth2Token(
  data: JsonObject,
  kept: JsonObject | undefined,
): Promise<Token> {
  const url = String(data["token_url"]);
  const refresh = textOf(kept ?? {}, "refresh_token") ?? textOf(data, "refresh_token");
  const isBasic = textOf(data, "auth_style", "auth_method")?.includes("basic") === true;
  const client = { id: textOf(data, "client_id") ?? "", secret: textOf(data, "client_secret") };
  const form = new URLSearchParams({
    grant_type: refresh === undefined ? "client_credentials" : "refresh_token",
  });
  const fields: Readonly<Record<string, string | undefined>> = {
    refresh_token: refresh,
    scope: scopeText(data["scope"]),
    audience: textOf(data, "audience"),
    ...(isBasic ? {} : { client_id: client.id, client_secret: client.secret }),
    ...texts(data["params"] ?? data["extra_params"]),
  };
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) {
      form.set(name, value);
    }
  }
  const nowMs = Date.now();
  const answer = await requestToken({
    url,
    method: "POST",
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      accept: "application/json",
      ...(isBasic ? { authorization: basic(client.id, client.secret ?? "") } : {}),
      ...texts(data["headers"]),
    },
    body: form.toString(),
  });
  return readToken(answer, url, nowMs);
}

/** Both parts are form-encoded first. See RFC 6749, section 2.3.1. */
function basic(id: string, secret: string): string {
  const pair = `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`;
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}

function texts(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(isJsonObject(value) ? value : {}).map(([name, text]) => [name, String(text)]),
  );
}
