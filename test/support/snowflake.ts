/**
 * A stand-in of Snowflake's SQL REST API (`/api/v2/statements`), made from its documentation: it checks
 * the key-pair token's signature, issuer and times, runs every statement asynchronously, and gives
 * results in partitions. It understands no SQL: the test says what each text gives. That real Snowflake
 * answers the same is not shown by it.
 */
import { createHash, createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import type { JsonObject } from "../../src/core/json.ts";

export interface Script {
  readonly columns?: readonly {
    readonly name: string;
    readonly type: string;
    readonly scale?: number;
  }[];
  /** Rows by partition. */
  readonly partitions?: readonly (readonly (readonly (string | null)[])[])[];
  readonly stats?: JsonObject;
  /** How often it answers "still running"; Infinity: until cancelled. */
  readonly polls?: number;
  readonly error?: { readonly status: number; readonly body: JsonObject };
  /** One of several statements in one text. */
  readonly parts?: readonly Script[];
}

export interface SnowflakeStandIn {
  readonly url: string;
  /** Data of a snowflake credential for it. */
  readonly credential: {
    readonly sf_account: string;
    readonly sf_user: string;
    readonly sf_private_key: string;
    readonly host: string;
  };
  /** Bodies of the statements that were submitted. */
  readonly submitted: readonly JsonObject[];
  /** Handles that were cancelled. */
  readonly cancelled: ReadonlySet<string>;
  /** Answers this to that many of the next requests, before anything else. */
  failNext(status: number, count: number): void;
  stop(): Promise<void>;
}

interface Running {
  readonly script: Script;
  polls: number;
}

const ACCOUNT = "MYORG-TESTING";
const USER = "ROBOT";
const PASSPHRASE = "between us";
const HOUR_SECONDS = 3600;

const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });

export const encryptedKey = {
  sf_private_key: pair.privateKey
    .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: PASSPHRASE })
    .toString(),
  sf_private_key_passphrase: PASSPHRASE,
};

export function startSnowflake(scripts: Readonly<Record<string, Script>>): SnowflakeStandIn {
  const submitted: JsonObject[] = [];
  const cancelled = new Set<string>();
  const statements = new Map<string, Running>();
  const byRequest = new Map<string, string>();
  const failing = { status: 0, count: 0 };
  const start = (script: Script): string => {
    const handle = crypto.randomUUID();
    statements.set(handle, { script, polls: script.polls ?? 1 });
    return handle;
  };
  const submit = async (request: Request): Promise<Response> => {
    const id = new URL(request.url).searchParams.get("requestId") ?? "";
    const body = (await request.json()) as JsonObject;
    const known = byRequest.get(id);
    if (known === undefined) {
      submitted.push(body);
    }
    const handle = known ?? start(scripts[String(body["statement"])] ?? { error: SYNTAX_ERROR });
    byRequest.set(id, handle);
    return Response.json({ code: "333334", statementHandle: handle }, { status: 202 });
  };
  const fetchResult = (handle: string, partition: number): Response => {
    const running = statements.get(handle);
    if (running === undefined) {
      return Response.json({ code: "000709", message: "Statement not found" }, { status: 404 });
    }
    if (running.polls > 0) {
      running.polls--;
      return Response.json({ code: "333334", statementHandle: handle }, { status: 202 });
    }
    return resultOf(handle, running.script, partition, start);
  };
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      if (failing.count > 0) {
        failing.count--;
        return new Response("not now", { status: failing.status });
      }
      const problem = loginProblem(request);
      if (problem !== undefined) {
        return Response.json(
          { code: "390144", message: `JWT token is invalid. ${problem}` },
          { status: 401 },
        );
      }
      const { pathname, searchParams } = new URL(request.url);
      const [, , , , handle, action] = pathname.split("/");
      if (action === "cancel" && handle !== undefined) {
        cancelled.add(handle);
        return Response.json({ code: "000604", message: "cancelled" });
      }
      return handle === undefined
        ? await submit(request)
        : fetchResult(handle, Number(searchParams.get("partition") ?? 0));
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    credential: {
      sf_account: "myorg-testing",
      sf_user: "robot",
      sf_private_key: pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      host: `http://127.0.0.1:${server.port}`,
    },
    submitted,
    cancelled,
    failNext: (status, count) => {
      Object.assign(failing, { status, count });
    },
    stop: () => server.stop(true),
  };
}

const SYNTAX_ERROR = {
  status: 422,
  body: {
    code: "001003",
    message: "SQL compilation error: syntax error line 1",
    sqlState: "42000",
  },
};

function resultOf(
  handle: string,
  script: Script,
  partition: number,
  start: (script: Script) => string,
): Response {
  if (script.error !== undefined) {
    return Response.json(
      { ...script.error.body, statementHandle: handle },
      { status: script.error.status },
    );
  }
  const { columns = [], partitions = [[]], stats, parts } = script;
  const data = partitions[partition] ?? [];
  if (partition > 0) {
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    return new Response(Bun.gzipSync(JSON.stringify({ data })), { headers });
  }
  return Response.json({
    code: "090001",
    statementHandle: handle,
    resultSetMetaData: {
      format: "jsonv2",
      numRows: partitions.reduce((sum, rows) => sum + rows.length, 0),
      rowType: columns,
      partitionInfo: partitions.map((rows) => ({ rowCount: rows.length })),
    },
    data,
    ...(stats === undefined ? {} : { stats }),
    ...(parts === undefined ? {} : { statementHandles: parts.map(start) }),
  });
}

/** What is wrong with the request's token; undefined: nothing. */
function loginProblem(request: Request): string | undefined {
  if (request.headers.get("x-snowflake-authorization-token-type") !== "KEYPAIR_JWT") {
    return "no key-pair token";
  }
  const token = (request.headers.get("authorization") ?? "").replace("Bearer ", "");
  const [header = "", claims = "", signature = ""] = token.split(".");
  const signed = Buffer.from(`${header}.${claims}`);
  if (!verify("RSA-SHA256", signed, pair.publicKey, Buffer.from(signature, "base64url"))) {
    return "signature";
  }
  const { alg } = decode(header);
  const { iss, sub, iat, exp } = decode(claims);
  const now = Date.now() / 1000;
  const isTimely =
    Number(iat) <= now + 1 && Number(exp) > now && Number(exp) - Number(iat) <= HOUR_SECONDS;
  const subject = `${ACCOUNT}.${USER}`;
  const isRight = alg === "RS256" && sub === subject && iss === `${subject}.${fingerprint()}`;
  return isRight && isTimely ? undefined : "claims";
}

function fingerprint(): string {
  const der = createPublicKey(pair.privateKey).export({ type: "spki", format: "der" });
  return `SHA256:${createHash("sha256").update(der).digest("base64")}`;
}

function decode(part: string): JsonObject {
  return JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
}
