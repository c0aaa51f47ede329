import type { ToolDescription } from "../../dsl/tool-description.ts";
import { SQL_FIELDS, SQL_NEED, SQL_RESULT } from "../sql-fields.ts";

export const SNOWFLAKE: ToolDescription = {
  kind: "snowflake",
  summary:
    "runs SQL on Snowflake: `command`, `commands` or `query`; gives rows, columns, command_N",
  runsOn: "worker",
  needs: [{ oneOf: [...SQL_NEED.oneOf, "command_b64"], text: SQL_NEED.text }],
  fields: {
    ...SQL_FIELDS,
    as_objects: { type: "any", about: "rows are maps", isIgnored: true },
    command: { type: ["text", "list"], about: "statements; a list runs one after another" },
    command_b64: { type: "text", about: "the same in base64" },
    bindings: { sameAs: "params" },
    connection: { type: "map", about: "the fields below in one map" },
    account: { type: "scalar", about: "account, such as myorg-prod" },
    user: { type: "scalar", about: "who logs in" },
    private_key: { type: "text", about: "key-pair login: PEM; better in a credential" },
    private_key_passphrase: { type: "scalar", about: "of an encrypted key" },
    token: { type: "text", about: "an OAuth or programmatic access token, in place of a key" },
    token_type: { type: "text", about: "OAUTH or PROGRAMMATIC_ACCESS_TOKEN", default: "OAUTH" },
    password: { type: "scalar", about: "refused: the SQL API takes none" },
    url: {
      type: "text",
      about: "address of the API",
      default: "https://ACCOUNT.snowflakecomputing.com",
    },
    endpoint: { sameAs: "url" },
    host: { sameAs: "url" },
    database: { type: "text", about: "database of names without one" },
    warehouse: { type: "text", about: "what runs the statements" },
    role: { type: "text", about: "role of the session" },
    credential: { type: ["text", "list", "map"], about: "older name of `auth`" },
  },
  result: SQL_RESULT,
  failures: {
    connection: "no connection to the API",
    auth: "a login that Snowflake refuses",
    rate_limit: "status 429",
    server_error: "status from 500 on",
    db_error: "an error of a statement, with Snowflake's code",
  },
  example: "kind: snowflake\nauth: snow\nquery: SELECT current_version() AS version\n",
};
