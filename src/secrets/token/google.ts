/**
 * Google's tokens: a service account signs a claim with its key and exchanges it for an access
 * token, or with a target audience for an id token; a user's refresh token is plain OAuth.
 *
 * See https://developers.google.com/identity/protocols/oauth2/service-account and RFC 7523.
 */
import { createPrivateKey, sign } from "node:crypto";
import { AppError } from "../../core/errors.ts";
import type { JsonObject } from "../../core/json.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import { fetchOauth2Token } from "./oauth2.ts";
import type { Token } from "./token.ts";
import { readToken, requestToken, scopeText, textOf } from "./token.ts";

const TOKEN_URL = "https://oauth2.googleapis.com/token";
const SCOPE = "https://www.googleapis.com/auth/cloud-platform";
const GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const LIFETIME_S = 3600;
/** Google refuses claims from the future: our clock may be ahead. */
const CLOCK_SKEW_S = 10;

/**
 * @param data fields of a credential of type gcp, those of `service_account` on top.
 * @throws AppError as the exchange; invalid GOOGLE_KEY_INVALID.
 */
export async function fetchGoogleToken(
  data: JsonObject,
  kept: JsonObject | undefined,
): Promise<Token> {
  const account = { ...data, ...serviceAccount(data["service_account"]) };
  const url = textOf(account, "token_uri", "token_url") ?? TOKEN_URL;
  const key = textOf(account, "private_key");
  if (key === undefined) {
    return await fetchOauth2Token({ ...account, token_url: url }, kept);
  }
  const audience = textOf(account, "target_audience");
  const nowMs = Date.now();
  const assertion = signClaim(key, textOf(account, "private_key_id"), {
    iss: textOf(account, "client_email") ?? "",
    ...(textOf(account, "subject") === undefined ? {} : { sub: textOf(account, "subject") }),
    ...(audience === undefined
      ? { scope: scopeText(account["scope"] ?? account["scopes"]) ?? SCOPE }
      : { target_audience: audience }),
    aud: url,
    iat: Math.floor(nowMs / 1000) - CLOCK_SKEW_S,
    exp: Math.floor(nowMs / 1000) - CLOCK_SKEW_S + LIFETIME_S,
  });
  const answer = await requestToken({
    url,
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json" },
    body: new URLSearchParams({ grant_type: GRANT, assertion }).toString(),
  });
  const project = textOf(account, "project_id");
  const token = readToken(answer, url, nowMs);
  return project === undefined ? token : { ...token, data: { ...token.data, project_id: project } };
}

/** The JSON key file of an account, as an object or as its text. */
export function serviceAccount(value: unknown): JsonObject {
  if (isJsonObject(value)) {
    return value;
  }
  if (typeof value !== "string" || value.trim() === "") {
    return {};
  }
  try {
    const parsed = parseJson(value);
    return isJsonObject(parsed) ? parsed : {};
  } catch (error) {
    throw keyInvalid(
      "The service account is no JSON: it must be the key file that Google gave",
      error,
    );
  }
}

/** A JWT with RS256. See RFC 7515 and 7519. */
function signClaim(pem: string, keyId: string | undefined, claims: object): string {
  const header = { alg: "RS256", typ: "JWT", ...(keyId === undefined ? {} : { kid: keyId }) };
  const text = [header, claims].map((part) => base64url(JSON.stringify(part))).join(".");
  try {
    const key = createPrivateKey(pem.replaceAll("\\n", "\n"));
    return `${text}.${sign("sha256", Buffer.from(text), key).toString("base64url")}`;
  } catch (error) {
    throw keyInvalid("The service account's private_key is no PEM key", error);
  }
}

function keyInvalid(message: string, cause: unknown): AppError {
  return new AppError("invalid", "GOOGLE_KEY_INVALID", message, { cause });
}

function base64url(text: string): string {
  return Buffer.from(text).toString("base64url");
}
