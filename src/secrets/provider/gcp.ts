/** Secrets in Google's Secret Manager, read with a token of a credential that the reference names. */
import { AppError } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import { isJsonObject } from "../../core/json.ts";
import type { Reference } from "../reference.ts";
import { callRemote, refusal } from "../remote.ts";

const API = "https://secretmanager.googleapis.com";
const WHO = "Google's Secret Manager";

export interface GcpOptions {
  /** Default: Google's own. */
  readonly url?: string | undefined;
}

/** @param token of an account that may read the secret. */
export async function readGcpSecret(
  reference: Reference,
  token: string,
  { url = API }: GcpOptions,
): Promise<Json> {
  const name = versionName(String(reference["path"]));
  const answer = await callRemote({
    who: WHO,
    url: `${url}/v1/${name}:access`,
    method: "GET",
    headers: { authorization: `Bearer ${token}` },
  });
  if (answer.status !== 200) {
    throw refusal(WHO, name, answer);
  }
  const payload = isJsonObject(answer.body["payload"]) ? answer.body["payload"]["data"] : undefined;
  return Buffer.from(String(payload ?? ""), "base64").toString("utf8");
}

/** @throws AppError invalid SECRET_REFUSED. */
function versionName(path: string): string {
  const match = /^\/?(projects\/[\w.:-]+\/secrets\/[\w-]+)(\/versions\/[\w-]+)?$/.exec(path);
  if (match === null) {
    const message = `"${path}" must be projects/PROJECT/secrets/NAME or end with /versions/VERSION`;
    throw new AppError("invalid", "SECRET_REFUSED", message);
  }
  return `${match[1]}${match[2] ?? "/versions/latest"}`;
}
