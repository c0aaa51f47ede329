/**
 * The types of credentials: which fields each has, under which spellings, and which it needs. A
 * credential of an unknown type is kept and handed out as it is.
 */
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { checkReference, isReference } from "./reference.ts";

interface CredentialType {
  readonly name: string;
  /** Other names of the type. */
  readonly aliases: readonly string[];
  /** Spellings of each field, its own name first; the first that is there counts. */
  readonly fields: Readonly<Record<string, readonly string[]>>;
  /** Of each list one field must be there. */
  readonly needs: readonly (readonly string[])[];
  /** Of each list one field should be there, or each task has to say it. */
  readonly wants?: readonly (readonly string[])[];
  /** The field that a text alone stands for, such as one from a file. */
  readonly textField?: string;
}

const SERVICE_ACCOUNT_JSON = ["service_account", "service_account_json", "credentials_json"];

const TYPES: readonly CredentialType[] = [
  {
    name: "postgres",
    aliases: ["postgresql", "pg"],
    fields: {
      host: ["host", "db_host", "hostname"],
      port: ["port", "db_port"],
      user: ["user", "db_user", "username"],
      password: ["password", "db_password"],
      database: ["database", "db_name", "dbname", "db"],
      schema: ["schema", "db_schema", "search_path"],
      sslmode: ["sslmode", "db_sslmode", "ssl"],
      connection_string: ["connection_string", "dsn", "url", "uri"],
    },
    needs: [["host", "connection_string", "user", "password", "database"]],
    wants: [["host", "connection_string"]],
    textField: "connection_string",
  },
  {
    name: "bearer",
    aliases: ["bearer_token", "http_bearer", "token"],
    fields: { token: ["token", "access_token", "bearer_token", "api_key"] },
    needs: [["token"]],
    textField: "token",
  },
  {
    name: "basic",
    aliases: ["basic_auth", "http_basic"],
    fields: { username: ["username", "user"], password: ["password"] },
    needs: [["username"]],
  },
  {
    name: "api_key",
    aliases: ["apikey"],
    fields: {
      api_key: ["api_key", "key", "token", "value"],
      header: ["header", "header_name"],
    },
    needs: [["api_key"]],
    textField: "api_key",
  },
  {
    name: "oauth2",
    aliases: ["oauth2_client_credentials", "oauth", "client_credentials"],
    fields: {
      token_url: ["token_url", "token_endpoint", "token_uri", "endpoint"],
      client_id: ["client_id"],
      client_secret: ["client_secret"],
      refresh_token: ["refresh_token"],
      scope: ["scope", "scopes"],
      audience: ["audience"],
      token: ["token", "access_token"],
    },
    needs: [
      ["token_url", "token"],
      ["client_id", "token"],
    ],
  },
  {
    name: "gcp",
    aliases: [
      "gcp_service_account",
      "google_service_account",
      "service_account",
      "google_oauth",
      "google_id_token",
    ],
    fields: {
      client_email: ["client_email"],
      private_key: ["private_key"],
      token_url: ["token_uri", "token_url"],
      client_id: ["client_id"],
      client_secret: ["client_secret"],
      refresh_token: ["refresh_token"],
      target_audience: ["target_audience", "audience"],
      scope: ["scope", "scopes"],
      token: ["token", "access_token"],
      service_account: SERVICE_ACCOUNT_JSON,
    },
    needs: [["private_key", "refresh_token", "token", "service_account"]],
    textField: "service_account",
  },
  {
    name: "nats",
    aliases: [],
    fields: {
      url: ["url", "nats_url", "servers", "nats_servers"],
      user: ["user", "nats_user", "username"],
      password: ["password", "nats_password"],
      token: ["token", "nats_token"],
    },
    needs: [["url", "user", "password", "token"]],
    wants: [["url"]],
    textField: "url",
  },
  {
    name: "snowflake",
    aliases: [],
    fields: {
      account: ["account", "sf_account"],
      user: ["user", "sf_user", "username"],
      password: ["password", "sf_password"],
      private_key: ["private_key", "sf_private_key", "private_key_pem"],
      private_key_passphrase: ["private_key_passphrase", "sf_private_key_passphrase", "passphrase"],
      warehouse: ["warehouse", "sf_warehouse"],
      database: ["database", "sf_database"],
      schema: ["schema", "sf_schema"],
      role: ["role", "sf_role"],
    },
    needs: [["account"], ["user"]],
  },
  {
    name: "s3",
    aliases: ["aws", "aws_s3", "minio", "hmac", "gcs_hmac"],
    fields: {
      access_key_id: ["access_key_id", "aws_access_key_id", "access_key", "key_id", "accessKeyId"],
      secret_access_key: [
        "secret_access_key",
        "aws_secret_access_key",
        "secret_key",
        "secret",
        "secretAccessKey",
      ],
      session_token: ["session_token", "aws_session_token"],
      region: ["region", "aws_region"],
      endpoint: ["endpoint", "endpoint_url"],
      bucket: ["bucket"],
    },
    needs: [["access_key_id"], ["secret_access_key"]],
  },
  {
    name: "ssh",
    aliases: ["sftp"],
    fields: {
      host: ["host", "hostname"],
      port: ["port"],
      user: ["user", "username"],
      password: ["password"],
      private_key: ["private_key", "ssh_key", "key"],
      passphrase: ["passphrase", "private_key_passphrase"],
    },
    needs: [],
    textField: "private_key",
  },
  {
    name: "generic",
    aliases: ["secret", "custom"],
    fields: {},
    needs: [],
    textField: "value",
  },
];

const BY_NAME: ReadonlyMap<string, CredentialType> = new Map(
  TYPES.flatMap((type) => [type.name, ...type.aliases].map((name) => [name, type] as const)),
);

function typeOf(name: string): CredentialType | undefined {
  return BY_NAME.get(name.trim().toLowerCase());
}

/** The type's own name for one of its aliases; an unknown one as it is. */
export function canonicalType(name: string): string {
  return typeOf(name)?.name ?? name;
}

export interface CredentialCheck {
  /** What is missing or wrong, each a sentence; the credential must not be saved. */
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** Checks what somebody wants to save. References to providers are checked for their own fields. */
export function checkCredential(typeName: string, data: JsonObject): CredentialCheck {
  if (isReference(data)) {
    return { errors: checkReference(data, "data"), warnings: [] };
  }
  const references = Object.entries(data).flatMap(([key, value]) =>
    isReference(value) ? checkReference(value, `data.${key}`) : [],
  );
  const type = typeOf(typeName);
  if (type === undefined) {
    const known = TYPES.map(({ name }) => name).join(", ");
    const warning = `type "${typeName}" is not known (${known}): kept as it is, unchecked`;
    return { errors: references, warnings: [warning] };
  }
  const missing = absent(type, data, type.needs).map(
    (names) => `a credential of type ${type.name} needs ${describe(type, names)}`,
  );
  const wanted = absent(type, data, type.wants ?? []).map(
    (names) => `no ${describe(type, names)}: each task that uses it must say where to connect to`,
  );
  return {
    errors: [...missing, ...references, ...misshapen(type, data)],
    warnings: missing.length > 0 ? [] : wanted,
  };
}

function absent(
  type: CredentialType,
  data: JsonObject,
  lists: CredentialType["needs"],
): CredentialType["needs"] {
  return lists.filter((names) => names.every((name) => findField(type, data, name) === undefined));
}

/** Each field once under its own name and once as spelled: `host (or db_host)`. */
function describe(type: CredentialType, names: readonly string[]): string {
  return names
    .map((name) => {
      const [, ...others] = type.fields[name] ?? [name];
      return others.length === 0 ? name : `${name} (or ${others.join(", ")})`;
    })
    .join(", or ");
}

function misshapen(type: CredentialType, data: JsonObject): readonly string[] {
  return Object.entries(type.fields).flatMap(([name, spellings]) => {
    const value = findField(type, data, name);
    const isText = typeof value !== "object" || isReference(value);
    const mayBeMore = name === "service_account" || name === "scope" || name === "url";
    return value === undefined || isText || mayBeMore
      ? []
      : [`${spellings.find((spelling) => spelling in data)} must be a text`];
  });
}

function findField(type: CredentialType, data: JsonObject, name: string): Json | undefined {
  for (const spelling of type.fields[name] ?? []) {
    const value = Object.hasOwn(data, spelling) ? data[spelling] : undefined;
    if (value !== undefined && value !== null && value !== "") {
      return value;
    }
  }
  return undefined;
}

/** The data with each field of its type also under the field's own name. */
export function withCanonicalFields(typeName: string, data: JsonObject): JsonObject {
  const type = typeOf(typeName);
  if (type === undefined) {
    return data;
  }
  const added = Object.keys(type.fields).flatMap((name): [string, Json][] => {
    const value = Object.hasOwn(data, name) ? undefined : findField(type, data, name);
    return value === undefined ? [] : [[name, value]];
  });
  return added.length === 0 ? data : { ...data, ...Object.fromEntries(added) };
}

/** Fields from what a provider gave for a whole credential; undefined: a text that means nothing. */
export function fieldsFrom(typeName: string, value: Json): JsonObject | undefined {
  if (isJsonObject(value)) {
    return value;
  }
  const name = typeOf(typeName)?.textField;
  return typeof value === "string" && name !== undefined ? { [name]: value } : undefined;
}
