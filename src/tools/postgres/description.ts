import type { ToolDescription } from "../../dsl/tool-description.ts";
import { SQL_FIELDS, SQL_NEED, SQL_RESULT } from "../sql-fields.ts";

export const POSTGRES: ToolDescription = {
  kind: "postgres",
  summary: "runs SQL: `command` or `query`; gives rows, columns, row_count and command_N",
  runsOn: "worker",
  needs: [SQL_NEED],
  fields: {
    ...SQL_FIELDS,
    connection: { type: ["text", "map"], about: "address, or a map with the fields below" },
    connection_string: { type: "text", about: "address: postgres://user@host/database" },
    host: { type: "scalar", about: "server" },
    port: { type: "integer", about: "its port", default: 5432, minimum: 1 },
    database: { type: "scalar", about: "name of the database" },
    user: { type: "scalar", about: "role" },
    password: { type: "scalar", about: "better: a credential, by `auth`" },
    pool: { type: "any", about: "as a text: the pool of workers; else without effect" },
    credential: { type: ["text", "list", "map"], about: "older name of `auth`" },
  },
  result: SQL_RESULT,
  failures: {
    db_connection: "no connection, or one that was lost",
    db_constraint: "a constraint of the database",
    db_deadlock: "a deadlock or a serialization failure",
    db_error: "any other error of a statement, with its SQLSTATE as code",
  },
  example:
    'kind: postgres\nauth: warehouse\nquery: SELECT * FROM customer WHERE id = $1\nparams: ["{{ workload.id }}"]\n',
};
