/**
 * Who may call. Checked before routing, so that no route can forget it and refused requests cost
 * nothing.
 *
 * Without a token only this machine may call; two checks keep web pages that a user of this machine
 * visits from doing so in his name: a request that names an Origin must come from the server's own
 * page, and its Host must be a name of this machine (DNS rebinding).
 */
import { timingSafeEqual } from "node:crypto";
import { AppError } from "../core/errors.ts";
import { PAGE_PATHS } from "./routes/page.ts";

export interface AccessOptions {
  /** Required as `Authorization: Bearer …`; undefined: no token is asked for. */
  readonly token: string | undefined;
  /** As good as the token everywhere, and needed for what only operators may do. */
  readonly operatorToken?: string | undefined;
  /** True if the server listens on loopback addresses only. */
  readonly isLoopback: boolean;
  /** Origins whose pages may call besides the server's own, for example `https://noetl.example`. */
  readonly origins: readonly string[];
}

/** Without data: probes, and the page, which asks for the token itself. */
const PUBLIC_PATHS: ReadonlySet<string> = new Set(["/health", "/livez", "/readyz", ...PAGE_PATHS]);

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/** The reason to refuse, or undefined. */
export type AccessCheck = (request: Request, path: string) => AppError | undefined;

export function createAccessCheck(options: AccessOptions): AccessCheck {
  const { token, operatorToken } = options;
  if (token === undefined) {
    return (request, path) => (isHook(path) ? undefined : checkOrigin(request, options));
  }
  const expected = [token, operatorToken].flatMap((each) =>
    each === undefined ? [] : Buffer.from(`Bearer ${each}`),
  );
  return (request, path) =>
    PUBLIC_PATHS.has(path) || isHook(path) ? undefined : checkToken(request, expected);
}

/** Hooks verify their callers by themselves, see src/triggers/webhook.ts. */
function isHook(path: string): boolean {
  return path.startsWith("/hooks/");
}

function checkToken(request: Request, expected: readonly Buffer[]): AppError | undefined {
  const header = request.headers.get("authorization");
  if (header === null) {
    return new AppError(
      "forbidden",
      "TOKEN_MISSING",
      "This server asks for a token: send `Authorization: Bearer …`",
    );
  }
  const given = Buffer.from(header);
  return expected.some((each) => given.length === each.length && timingSafeEqual(given, each))
    ? undefined
    : new AppError("forbidden", "TOKEN_INVALID", "The token is not valid");
}

function checkOrigin(request: Request, options: AccessOptions): AppError | undefined {
  const host = request.headers.get("host") ?? "";
  if (options.isLoopback && host !== "" && !LOOPBACK_HOST.test(host)) {
    return new AppError(
      "forbidden",
      "HOST_FORBIDDEN",
      `Host ${host} is not this machine: set a token to serve it`,
    );
  }
  const origin = request.headers.get("origin");
  if (origin === null || options.origins.includes(origin)) {
    return undefined;
  }
  return origin === `http://${host}` || origin === `https://${host}`
    ? undefined
    : new AppError("forbidden", "ORIGIN_FORBIDDEN", `Pages of ${origin} may not call this server`);
}
