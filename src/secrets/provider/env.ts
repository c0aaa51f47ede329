/** Secrets in the server's environment: only the variables that the operator named. */
import { AppError } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import type { Reference } from "../reference.ts";

/** @param allowed name and value of each variable that may be read; undefined: it is not set. */
export function readEnvironment(
  reference: Reference,
  allowed: Readonly<Record<string, string | undefined>>,
): Json {
  const name = String(reference["name"]);
  if (!Object.hasOwn(allowed, name)) {
    const message = `Environment variable ${name} may not be read as a secret: the operator has to list it in NOETL_SECRET_ENV`;
    throw new AppError("forbidden", "SECRET_DENIED", message);
  }
  const value = allowed[name];
  if (value === undefined || value === "") {
    const message = `Environment variable ${name} is not set on the server`;
    throw new AppError("not_found", "SECRET_NOT_FOUND", message);
  }
  return value;
}
