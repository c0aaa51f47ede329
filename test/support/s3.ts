/**
 * A stand-in of an S3 store: GET of objects in one bucket, with the checks of AWS Signature Version 4
 * done as its documentation says. It knows nothing of the client under test.
 */
import { createHash, createHmac } from "node:crypto";

export interface S3StandIn {
  /** Data of an s3 credential for it. */
  readonly credential: {
    readonly endpoint: string;
    readonly region: string;
    readonly access_key_id: string;
    readonly secret_access_key: string;
  };
  /** Requests whose signature was right: `GET /bucket/key`. */
  readonly seen: readonly string[];
  stop(): Promise<void>;
}

const REGION = "eu-test-1";
const ACCESS_KEY = "AKTEST";
const SECRET_KEY = "secret-key-of-the-stand-in";

export function startS3(options: {
  readonly bucket: string;
  readonly objects: Readonly<Record<string, string>>;
}): S3StandIn {
  const seen: string[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      const { pathname } = new URL(request.url);
      if (!isSigned(request)) {
        return problem(403, "SignatureDoesNotMatch");
      }
      seen.push(`${request.method} ${pathname}`);
      const [, bucket, ...key] = pathname.split("/");
      const object = options.objects[key.join("/")];
      return bucket === options.bucket && object !== undefined
        ? new Response(object, { headers: { etag: '"1"' } })
        : problem(404, "NoSuchKey");
    },
  });
  return {
    credential: {
      endpoint: `http://127.0.0.1:${server.port}`,
      region: REGION,
      access_key_id: ACCESS_KEY,
      secret_access_key: SECRET_KEY,
    },
    seen,
    stop: () => server.stop(true),
  };
}

function problem(status: number, code: string): Response {
  const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
  return new Response(body, { status, headers: { "content-type": "application/xml" } });
}

/** The signature of the request's header, made anew from what it signs. */
function isSigned(request: Request): boolean {
  const header = request.headers.get("authorization") ?? "";
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      header,
    );
  if (match === null) {
    return false;
  }
  const [, accessKey, date = "", region = "", signedNames = "", signature] = match;
  const scope = `${date}/${region}/s3/aws4_request`;
  const time = request.headers.get("x-amz-date") ?? "";
  const text = ["AWS4-HMAC-SHA256", time, scope, sha256(canonical(request, signedNames))].join(
    "\n",
  );
  const key = [date, region, "s3", "aws4_request"].reduce<string | Buffer>(
    (secret, part) => hmac(secret, part),
    `AWS4${SECRET_KEY}`,
  );
  const expected = createHmac("sha256", key).update(text).digest("hex");
  return accessKey === ACCESS_KEY && region === REGION && signature === expected;
}

function canonical(request: Request, signedNames: string): string {
  const url = new URL(request.url);
  const query = [...url.searchParams]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort();
  const headers = signedNames
    .split(";")
    .map((name) => `${name}:${(request.headers.get(name) ?? "").trim()}\n`);
  return [
    request.method,
    url.pathname,
    query.join("&"),
    headers.join(""),
    signedNames,
    request.headers.get("x-amz-content-sha256") ?? "UNSIGNED-PAYLOAD",
  ].join("\n");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
