/** Lets the pages of the origins that the operator named read our answers. See the Fetch standard, 3.3. */

const ALLOWED = {
  "access-control-allow-methods": "GET, POST, DELETE",
  "access-control-allow-headers": "authorization, content-type, last-event-id",
  "access-control-max-age": "600",
};

export interface Cors {
  /** The answer to a preflight request of a named origin; else undefined. */
  preflight(request: Request): Response | undefined;
  /** Adds what the browser looks for. */
  mark(request: Request, response: Response): void;
}

/** @param origins without any, nothing is ever added. */
export function createCors(origins: readonly string[]): Cors {
  if (origins.length === 0) {
    return { preflight: () => undefined, mark: () => undefined };
  }
  const originOf = (request: Request): string | undefined =>
    origins.find((each) => each === request.headers.get("origin"));
  return {
    preflight: (request) =>
      request.method === "OPTIONS" && originOf(request) !== undefined
        ? new Response(null, { status: 204, headers: ALLOWED })
        : undefined,
    mark: (request, response) => {
      const origin = originOf(request);
      if (origin !== undefined) {
        response.headers.set("access-control-allow-origin", origin);
        response.headers.append("vary", "origin");
      }
    },
  };
}
