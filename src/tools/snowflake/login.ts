/** Which Snowflake account a task talks to, and how it proves who it is. */
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";
import { errorMessage } from "../../core/errors.ts";
import type { Layers } from "../layers.ts";
import { findText } from "../layers.ts";
import { taskError } from "../task-error.ts";

export interface SnowflakeTarget {
  /** `https://…`, without a path. */
  readonly url: string;
  readonly login: Login;
  readonly database: string | undefined;
  readonly schema: string | undefined;
  readonly warehouse: string | undefined;
  readonly role: string | undefined;
}

type Login =
  | { readonly type: "key"; readonly account: string; readonly user: string; readonly key: Key }
  /** An OAuth or programmatic access token. */
  | { readonly type: "token"; readonly token: string; readonly tokenType: string };

type Key = ReturnType<typeof createPrivateKey>;

const FIELDS = {
  account: ["account", "sf_account"],
  user: ["user", "sf_user", "username"],
  password: ["password", "sf_password"],
  privateKey: ["private_key", "sf_private_key"],
  passphrase: ["private_key_passphrase", "sf_private_key_passphrase", "passphrase"],
  token: ["token", "access_token", "sf_token"],
  tokenType: ["token_type", "sf_token_type"],
  url: ["endpoint", "url", "host", "sf_host"],
  database: ["database", "sf_database"],
  schema: ["schema", "sf_schema"],
  warehouse: ["warehouse", "sf_warehouse"],
  role: ["role", "sf_role"],
} as const;

/** Snowflake takes an hour at most. */
const JWT_SECONDS = 55 * 60;

/** @throws TaskError if something is missing, or is no key. */
export function snowflakeTarget(layers: Layers): SnowflakeTarget {
  const account = findText(layers, FIELDS.account);
  return {
    url: addressOf(account, findText(layers, FIELDS.url)),
    login: loginOf(layers, account),
    database: findText(layers, FIELDS.database),
    schema: findText(layers, FIELDS.schema),
    warehouse: findText(layers, FIELDS.warehouse),
    role: findText(layers, FIELDS.role),
  };
}

function addressOf(account: string | undefined, url: string | undefined): string {
  if (url !== undefined) {
    return (url.includes("://") ? url : `https://${url}`).replace(/\/+$/, "");
  }
  if (account === undefined) {
    throw lacking("`account` is missing");
  }
  if (!/^[A-Za-z0-9_.-]+$/.test(account)) {
    throw lacking(`"${account}" is not the name of a Snowflake account`);
  }
  // Names of hosts have no underscores.
  return `https://${account.toLowerCase().replaceAll("_", "-")}.snowflakecomputing.com`;
}

function loginOf(layers: Layers, account: string | undefined): Login {
  const privateKey = findText(layers, FIELDS.privateKey);
  const token = findText(layers, FIELDS.token);
  if (privateKey === undefined && token !== undefined) {
    const tokenType = findText(layers, FIELDS.tokenType) ?? "OAUTH";
    return { type: "token", token, tokenType };
  }
  if (privateKey === undefined) {
    const hasPassword = findText(layers, FIELDS.password) !== undefined;
    throw lacking(
      hasPassword
        ? "Snowflake's SQL API takes no password: the credential needs `private_key` (key-pair login) or `token`"
        : "the credential needs `private_key` (key-pair login) or `token`",
    );
  }
  const user = findText(layers, FIELDS.user);
  if (user === undefined || account === undefined) {
    throw lacking(`key-pair login needs \`${user === undefined ? "user" : "account"}\``);
  }
  return {
    type: "key",
    account,
    user,
    key: readKey(privateKey, findText(layers, FIELDS.passphrase)),
  };
}

/** PEM, also on one line with `\n`, or only its base64. */
function readKey(text: string, passphrase: string | undefined): Key {
  const lines = text.includes("\n") ? text : text.replaceAll("\\n", "\n");
  const pem = lines.includes("-----")
    ? lines
    : `-----BEGIN PRIVATE KEY-----\n${lines.trim()}\n-----END PRIVATE KEY-----\n`;
  try {
    return createPrivateKey({ key: pem, ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (error) {
    const message = `the private key cannot be read (is the passphrase right?): ${errorMessage(error)}`;
    throw taskError("auth", "SNOWFLAKE_KEY_INVALID", message);
  }
}

export function loginHeaders(login: Login, nowMs: number): Readonly<Record<string, string>> {
  return login.type === "token"
    ? {
        authorization: `Bearer ${login.token}`,
        "x-snowflake-authorization-token-type": login.tokenType,
      }
    : {
        authorization: `Bearer ${makeJwt(login, nowMs)}`,
        "x-snowflake-authorization-token-type": "KEYPAIR_JWT",
      };
}

/** See "Using key-pair authentication" in the documentation of Snowflake's SQL REST API. */
function makeJwt(login: Extract<Login, { type: "key" }>, nowMs: number): string {
  const subject = `${accountName(login.account)}.${login.user.toUpperCase()}`;
  const issued = Math.floor(nowMs / 1000);
  const claims = {
    iss: `${subject}.${fingerprint(login.key)}`,
    sub: subject,
    iat: issued,
    exp: issued + JWT_SECONDS,
  };
  const body = `${encode({ alg: "RS256", typ: "JWT" })}.${encode(claims)}`;
  return `${body}.${sign("RSA-SHA256", Buffer.from(body), login.key).toString("base64url")}`;
}

/** Without the region of an account locator: `xy12345.eu-central-1` → `XY12345`. */
function accountName(account: string): string {
  const end = account.includes(".global") ? account.indexOf("-") : account.indexOf(".");
  return (end < 0 ? account : account.slice(0, end)).toUpperCase();
}

function fingerprint(key: Key): string {
  const publicKey = createPublicKey(key).export({ type: "spki", format: "der" });
  return `SHA256:${createHash("sha256").update(publicKey).digest("base64")}`;
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function lacking(message: string) {
  return taskError("schema", "SNOWFLAKE_LOGIN_MISSING", message);
}
