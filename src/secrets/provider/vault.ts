/**
 * Secrets in HashiCorp Vault, KV version 2. The server logs in with a token that it was given, or as
 * its Kubernetes service account; then it logs in again when that login ends or is refused.
 *
 * See https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 and …/auth/kubernetes.
 */
import { readFile } from "node:fs/promises";
import { AppError } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Reference } from "../reference.ts";
import type { RemoteAnswer } from "../remote.ts";
import { callRemote, notConfigured, refusal } from "../remote.ts";
import { pickKey } from "./kubernetes.ts";

export interface VaultOptions {
  readonly url: string;
  readonly namespace?: string | undefined;
  /** PEM of the authority that signed Vault's certificate. */
  readonly ca?: string | undefined;
  readonly login:
    | { readonly kind: "token"; readonly token: string }
    | {
        readonly kind: "kubernetes";
        readonly role: string;
        /** Where the method is mounted: `kubernetes`. */
        readonly mount: string;
        /** File with the service account's token. */
        readonly tokenFile: string;
      };
}

const WHO = "Vault";
const MOUNT = "secret";
/** A login is renewed this long before it ends. */
const LOGIN_SKEW_MS = 10_000;

export class VaultProvider {
  readonly #options: VaultOptions | undefined;
  #login: { readonly token: string; readonly untilMs: number } | undefined;

  constructor(options: VaultOptions | undefined) {
    this.#options = options;
  }

  /** One field, or all of them. */
  async read(reference: Reference): Promise<Json> {
    const options = this.#options;
    if (options === undefined) {
      throw notConfigured(
        "No Vault is known: the operator has to set VAULT_ADDR, and VAULT_TOKEN or NOETL_VAULT_ROLE",
      );
    }
    const mount = trimSlashes(String(reference["mount"] ?? MOUNT));
    const path = trimSlashes(String(reference["path"]));
    const what = `${mount}/${path}`;
    const answer = await this.#get(options, dataPath(mount, path, reference["version"]));
    const data = isJsonObject(answer.body["data"]) ? answer.body["data"]["data"] : undefined;
    if (answer.status !== 200) {
      throw refusal(WHO, what, answer);
    }
    if (!isJsonObject(data)) {
      const message = `${WHO} has no fields at ${what}: is it KV version 2, and not deleted?`;
      throw new AppError("not_found", "SECRET_NOT_FOUND", message);
    }
    return pickKey(data, `${WHO}'s ${what}`, reference["field"]);
  }

  /** Logs in once more when the login is refused: it may have been revoked. */
  async #get(options: VaultOptions, path: string): Promise<RemoteAnswer> {
    const known = this.#login;
    const answer = await this.#send(options, path, await this.#token(options));
    if (answer.status !== 403 || options.login.kind === "token" || known === undefined) {
      return answer;
    }
    this.#login = undefined;
    return await this.#send(options, path, await this.#token(options));
  }

  async #send(options: VaultOptions, path: string, token: string): Promise<RemoteAnswer> {
    return await callRemote({
      who: WHO,
      url: `${options.url}/v1/${path}`,
      method: "GET",
      headers: { "x-vault-token": token, ...namespaceOf(options) },
      ca: options.ca,
    });
  }

  async #token(options: VaultOptions): Promise<string> {
    const { login } = options;
    if (login.kind === "token") {
      return login.token;
    }
    if (this.#login === undefined || this.#login.untilMs <= Date.now()) {
      this.#login = await logIn(options, login);
    }
    return this.#login.token;
  }
}

async function logIn(
  options: VaultOptions,
  { role, mount, tokenFile }: Extract<VaultOptions["login"], { kind: "kubernetes" }>,
): Promise<{ readonly token: string; readonly untilMs: number }> {
  const jwt = await readToken(tokenFile);
  const answer = await callRemote({
    who: WHO,
    url: `${options.url}/v1/auth/${mount}/login`,
    method: "POST",
    headers: { "content-type": "application/json", ...namespaceOf(options) },
    body: JSON.stringify({ role, jwt }),
    ca: options.ca,
  });
  const auth = isJsonObject(answer.body["auth"]) ? answer.body["auth"] : {};
  const token = auth["client_token"];
  if (answer.status !== 200 || typeof token !== "string") {
    throw refusal(WHO, `the login as role ${role}`, answer);
  }
  const seconds = Number(auth["lease_duration"] ?? 0);
  return { token, untilMs: Date.now() + seconds * 1000 - LOGIN_SKEW_MS };
}

async function readToken(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    throw notConfigured(`The service account's file ${path} cannot be read`, error);
  }
}

function namespaceOf({ namespace }: VaultOptions): Readonly<Record<string, string>> {
  return namespace === undefined ? {} : { "x-vault-namespace": namespace };
}

function dataPath(mount: string, path: string, version: Json | undefined): string {
  const parts = [...mount.split("/"), "data", ...path.split("/")].map(encodeURIComponent);
  const query = version === undefined || version === null ? "" : `?version=${Number(version)}`;
  return `${parts.join("/")}${query}`;
}

function trimSlashes(text: string): string {
  return text.replace(/^\/+|\/+$/g, "");
}
