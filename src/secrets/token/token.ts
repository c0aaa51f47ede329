/** Tokens that a credential is exchanged for. */

import { AppError } from "../../core/errors.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import type { RemoteAnswer, RemoteRequest } from "../remote.ts";
import { callRemote, refusal } from "../remote.ts";

export interface Token {
  /** What its user gets: `token`, also as `access_token`, and what else the endpoint said. */
  readonly data: JsonObject;
  /** How long it holds from now. */
  readonly lifetimeMs: number;
  /** Kept for the next exchange and given to nobody: a refresh token that replaces the first. */
  readonly kept?: JsonObject;
}

/** Of tokens whose endpoint does not say. */
export const LIFETIME_MS = 300_000;

/** Asks a token endpoint. @throws AppError unavailable, forbidden SECRET_DENIED, invalid. */
export async function requestToken(request: Omit<RemoteRequest, "who">): Promise<JsonObject> {
  const who = `The token endpoint ${withoutQuery(request.url)}`;
  const answer = await callRemote({ ...request, who });
  if (answer.status < 200 || answer.status > 299) {
    throw tokenRefusal(who, answer);
  }
  return answer.body;
}

/** OAuth answers 400 to what other services answer 401 to. See RFC 6749, section 5.2. */
function tokenRefusal(who: string, answer: RemoteAnswer): AppError {
  const error = refusal(who, "a token", answer);
  return answer.status === 400 ? new AppError("forbidden", "SECRET_DENIED", error.message) : error;
}

function withoutQuery(url: string): string {
  return url.split("?")[0] ?? url;
}

/**
 * The token in an endpoint's answer.
 *
 * @throws AppError invalid TOKEN_MISSING.
 */
export function readToken(answer: JsonObject, url: string, nowMs: number): Token {
  const text = answer["access_token"] ?? answer["id_token"] ?? answer["token"];
  if (typeof text !== "string" || text === "") {
    const known = Object.keys(answer).join(", ");
    const message = `The token endpoint ${withoutQuery(url)} answered without access_token; it has ${known === "" ? "nothing" : known}`;
    throw new AppError("invalid", "TOKEN_MISSING", message);
  }
  const { refresh_token: refresh, ...rest } = answer;
  const lifetimeMs = lifetimeOf(answer, text, nowMs);
  return {
    data: {
      ...rest,
      token: text,
      access_token: text,
      expires_at: new Date(nowMs + lifetimeMs).toISOString(),
    },
    lifetimeMs,
    ...(typeof refresh === "string" ? { kept: { refresh_token: refresh } } : {}),
  };
}

function lifetimeOf(answer: JsonObject, token: string, nowMs: number): number {
  const seconds = Number(answer["expires_in"] ?? Number.NaN);
  if (Number.isFinite(seconds) && seconds > 0) {
    return seconds * 1000;
  }
  const untilMs = expiryOf(token);
  return untilMs !== undefined && untilMs > nowMs ? untilMs - nowMs : LIFETIME_MS;
}

/** `exp` of a JWT, in milliseconds since 1970; undefined for other tokens. */
function expiryOf(token: string): number | undefined {
  const part = token.split(".")[1];
  if (part === undefined) {
    return undefined;
  }
  try {
    const claims: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    const exp = (claims as { readonly exp?: unknown } | null)?.exp;
    return typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    // Dots in a token that is no JWT.
    return undefined;
  }
}

/** Several scopes are a list, or a text with spaces or commas. */
export function scopeText(value: Json | undefined): string | undefined {
  if (Array.isArray(value)) {
    return value.map(String).join(" ");
  }
  return typeof value === "string" && value.trim() !== ""
    ? value
        .trim()
        .split(/[\s,]+/)
        .join(" ")
    : undefined;
}

export function textOf(data: JsonObject, ...names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = data[name];
    if (typeof value === "string" && value !== "") {
      return value;
    }
  }
  return undefined;
}
