/**
 * Hands secrets out, in the open, to the worker that runs a command which names them, and to nobody
 * else. Every handing-out and every refusal is a log line with who, what and for which command.
 */
import { AppError, errorMessage } from "../core/errors.ts";
import type { WorkerId } from "../core/ids.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { CommandPayload, HeldCommand } from "../engine/command.ts";
import { readHeldPayload, readHeldStep } from "../store/command.ts";
import { databaseError } from "../store/sqlstate.ts";
import type { Keychain } from "./keychain.ts";
import { findNaming, isAliasRead, isNamedLiterally } from "./named-secrets.ts";
import type { OrchestratorOptions } from "./options.ts";
import type { SecretSource, SecretValue } from "./secret-source.ts";

export interface SecretQuestion {
  readonly held: HeldCommand;
  /** Of a credential, or alias of a keychain entry. */
  readonly name: string;
  /** It was read as `keychain.<name>`. */
  readonly isKeychain: boolean;
  /** Version of the value that a remote side refused; "" for none. */
  readonly refusedVersion: string;
}

export interface ResolvedCredential {
  readonly name: string;
  /** `postgres`, `bearer`, `basic`, `api_key`, …; `keychain` for an entry that is none of them. */
  readonly type: string;
  readonly data: JsonObject;
  /** Names a value that can be fetched anew when it is refused; else "". */
  readonly version: string;
}

export interface CredentialsOptions extends Pick<OrchestratorOptions, "store" | "metrics" | "log"> {
  readonly source: SecretSource;
  readonly keychain: Keychain;
}

/**
 * A credential by its name; if there is none, the entry of the execution's keychain.
 *
 * @throws AppError forbidden COMMAND_NOT_HELD or CREDENTIAL_NOT_NAMED, not_found
 *   CREDENTIAL_NOT_FOUND, and what opening it throws.
 */
export async function resolveCredential(
  options: CredentialsOptions,
  workerId: WorkerId,
  question: SecretQuestion,
): Promise<ResolvedCredential> {
  const { metrics, log } = options;
  const { held, name, isKeychain } = question;
  const source = isKeychain ? "keychain" : "credential";
  const fields = {
    name,
    source,
    worker_id: workerId,
    execution_id: held.executionId,
    command_id: held.commandId,
    attempt: held.attempt,
  };
  try {
    const step = await checkNamed(options, workerId, question);
    const found = isKeychain
      ? { type: "keychain", value: await fromKeychain(options, question) }
      : await fromCredentials(options, question);
    metrics.secretsHanded.inc(source, "ok");
    log.info("secret handed out", { ...fields, type: found.type, step });
    return { name, type: found.type, ...found.value };
  } catch (thrown) {
    const error = databaseError(thrown);
    metrics.secretsHanded.inc(source, error.kind === "forbidden" ? "refused" : "error");
    log.warn("secret not handed out", { ...fields, code: error.code, error: error.message });
    throw visible(error);
  }
}

/** What is wrong with a key or a stored text is for the worker's message, too: it says no secret. */
function visible(error: AppError): AppError {
  return error.kind === "internal" && error.code.startsWith("SEAL_")
    ? new AppError("conflict", error.code, error.message)
    : error;
}

async function fromKeychain(
  { keychain }: CredentialsOptions,
  { held, name, refusedVersion }: SecretQuestion,
): Promise<SecretValue> {
  return await keychain.resolve(held.executionId, { alias: name, refusedVersion });
}

async function fromCredentials(
  options: CredentialsOptions,
  question: SecretQuestion,
): Promise<{ readonly type: string; readonly value: SecretValue }> {
  const { source, keychain } = options;
  const { name, held } = question;
  const row = await source.find(name);
  if (row !== undefined) {
    const value = await source.value(await source.openRow(row), question.refusedVersion);
    return { type: row.type, value };
  }
  if (await keychain.has(held.executionId, name)) {
    const value = await fromKeychain(options, question);
    return { type: typeFrom(value.data), value };
  }
  throw new AppError("not_found", "CREDENTIAL_NOT_FOUND", `There is no credential ${name}`);
}

/** How a keychain entry authenticates where a task names it as its `auth`. */
function typeFrom(data: JsonObject): string {
  const has = (name: string): boolean => typeof data[name] === "string" && data[name] !== "";
  if (has("token") || has("access_token")) {
    return "bearer";
  }
  if (has("api_key")) {
    return "api_key";
  }
  return has("username") && has("password") ? "basic" : "keychain";
}

/** @returns the step's name. */
async function checkNamed(
  { store, metrics, log }: CredentialsOptions,
  workerId: WorkerId,
  { held, name, isKeychain }: SecretQuestion,
): Promise<string> {
  const text = await readHeldStep(store.durable, workerId, held);
  if (text === undefined) {
    metrics.fenceRefusals.inc("credential");
    const message = `Worker ${workerId} does not hold command ${held.commandId}`;
    throw new AppError("forbidden", "COMMAND_NOT_HELD", message);
  }
  const step: Json = parseJson(text);
  const stepName = isJsonObject(step) ? String(step["name"]) : "";
  const isNamed = isKeychain ? isAliasRead(step, name) : isNamedLiterally(step, name);
  if (isNamed || (!isKeychain && (await isNamedByTemplate()))) {
    return stepName;
  }
  const kind = isKeychain ? "keychain entry" : "credential";
  const message = `Step ${stepName} does not name the ${kind} ${name}, so its command cannot have it`;
  throw new AppError("forbidden", "CREDENTIAL_NOT_NAMED", message);

  async function isNamedByTemplate(): Promise<boolean> {
    const payload = await readHeldPayload(store.durable, workerId, held);
    const naming =
      payload === undefined
        ? "no"
        : findNaming(parseJson(payload) as unknown as CommandPayload, name);
    if (naming === "open") {
      log.info("secret named by what only the running task knows", { name, step: stepName });
    }
    return naming !== "no";
  }
}

/**
 * Renews a keychain value ahead of its end. What fails for now is tried again a little later.
 *
 * @param stop called when it fails for good: then tasks fetch the value when they need it.
 */
export async function renewKeychain(
  { keychain, log, metrics }: Pick<CredentialsOptions, "keychain" | "log" | "metrics">,
  due: { readonly executionId: HeldCommand["executionId"]; readonly name: string },
  stop: () => Promise<void>,
): Promise<void> {
  const fields = { name: due.name, execution_id: due.executionId };
  try {
    await keychain.resolve(due.executionId, { alias: due.name, isRenewal: true });
    metrics.keychainRenewals.inc("ok");
    log.info("keychain value renewed", fields);
  } catch (error) {
    metrics.keychainRenewals.inc("error");
    log.warn("keychain value not renewed", { ...fields, error: errorMessage(error) });
    if (!(error instanceof AppError && error.isRetryable)) {
      await stop();
    }
  }
}
