/** Asks components over HTTP; what goes wrong is said with its cause. */
import { errorMessage } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { CheckContext } from "./finding.ts";
import { CheckFailure } from "./finding.ts";
import { describePeer } from "./peer.ts";
import { clipped } from "./words.ts";

/** A component with an HTTP API. */
export interface Service {
  /** For messages: `VictoriaMetrics`. */
  readonly name: string;
  /** What to do when there is none; default: start it, or correct the setting. */
  readonly start?: string | undefined;
  /** May hold `user:password@`; neither is shown. */
  readonly url: string;
  /** The setting that names it. */
  readonly setting: string;
  /** The setting of its credentials; default: `user:password@` in the URL. */
  readonly credentials?: string | undefined;
  /** As an `authorization` header; it wins over what the URL holds. */
  readonly authorization?: string | undefined;
  /** PEM of who signed its certificate; default: known authorities. */
  readonly authority?: string | undefined;
  /** The setting that names such a file; default: that of the runtime. */
  readonly caSetting?: string | undefined;
  /** What else is sent. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
}

export interface Question {
  readonly path: string;
  readonly method?: "GET" | "POST";
  /** Sent as a form. */
  readonly form?: Readonly<Record<string, string>>;
  /** Statuses besides 2xx that the caller understands. */
  readonly accept?: readonly number[];
}

const ANSWER_CHARS_MAX = 16 * 1024 * 1024;

/** Of Bun and OpenSSL, when a certificate is not what it should be. */
const CERTIFICATE = /CERT|SIGNATURE|ISSUER|SELF_SIGNED|ALTNAME/i;

/**
 * The answer, of a status that is fine.
 *
 * @throws CheckFailure with who answers there instead, or what the component says.
 */
export async function ask(
  service: Service,
  { path, method = "GET", form, accept = [] }: Question,
  { signal, doing }: CheckContext,
): Promise<Answer> {
  const url = new URL(service.url.replace(/\/+$/, "") + path);
  const [user, password] = [url.username, url.password].map(decodeURIComponent);
  url.username = "";
  url.password = "";
  doing(`${method} ${url.origin}${path.split("?")[0]}`);
  const basic = user ? `Basic ${btoa(`${user}:${password ?? ""}`)}` : undefined;
  const authorization = service.authorization ?? basic;
  let answer: Answer;
  try {
    const response = await fetch(url, {
      method,
      signal,
      redirect: "manual",
      headers: {
        ...service.headers,
        ...(authorization === undefined ? {} : { authorization }),
      },
      ...(service.authority === undefined ? {} : { tls: { ca: service.authority } }),
      ...(form === undefined ? {} : { body: new URLSearchParams(form) }),
    });
    const text = (await response.text()).slice(0, ANSWER_CHARS_MAX);
    answer = { status: response.status, text, headers: response.headers };
  } catch (error) {
    throw signal.aborted ? tooSlow(service, url) : await unreachable(service, url, error);
  }
  if ((answer.status >= 200 && answer.status < 300) || accept.includes(answer.status)) {
    return answer;
  }
  throw refused(service, url, answer);
}

/** Like {@link ask}, for answers that are JSON objects. */
export async function askObject(
  service: Service,
  question: Question,
  context: CheckContext,
): Promise<JsonObject> {
  return readObject(service, await ask(service, question, context));
}

/** @throws CheckFailure when it is something else: somebody else answers there. */
export function readObject(service: Service, { text, status, headers }: Answer): JsonObject {
  const value = readJson(text);
  if (isJsonObject(value)) {
    return value;
  }
  const type = headers.get("content-type") ?? "no content type";
  throw notIt(service, `HTTP ${status}, ${type}: ${clipped(text, 80) || "nothing"}`);
}

export function readJson(text: string): Json | undefined {
  try {
    return parseJson(text);
  } catch {
    // Not the one that was expected there.
    return undefined;
  }
}

/** Something answers that is not the component. */
export function notIt(service: Service, what: string): CheckFailure {
  return new CheckFailure(
    `What answers at ${shownUrl(service)} is no ${service.name} (${what})`,
    `Correct ${service.setting}: it names another program or a wrong path.`,
  );
}

/** Without credentials. */
export function shownUrl({ url }: Pick<Service, "url">): string {
  const parsed = URL.parse(url);
  return parsed === null ? url : parsed.origin + parsed.pathname.replace(/\/+$/, "");
}

function tooSlow({ name }: Service, url: URL): CheckFailure {
  return new CheckFailure(
    `The ${name} at ${url.host} does not answer ${url.pathname} in time`,
    "It hangs, is overloaded, or something on the way drops packets. --timeout waits longer.",
  );
}

async function unreachable(service: Service, url: URL, error: unknown): Promise<CheckFailure> {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (url.protocol === "https:" && CERTIFICATE.test(code)) {
    return new CheckFailure(
      `The certificate of ${url.host} is not accepted (${code})`,
      `Use a certificate of a known authority, name the authority's file with ${service.caSetting ?? "NODE_EXTRA_CA_CERTS"}, or correct the name in ${service.setting}.`,
    );
  }
  const isTls = url.protocol === "https:";
  const port = Number(url.port) || (isTls ? 443 : 80);
  const peer = await describePeer({ host: url.hostname.replace(/^\[|\]$/g, ""), port });
  const who = `No ${service.name} at ${url.host}`;
  if (isTls && peer.includes("HTTP server")) {
    return new CheckFailure(
      `${who}: it speaks plain HTTP, not HTTPS`,
      `Write http:// in ${service.setting}.`,
    );
  }
  if (!isTls && peer.includes("TLS")) {
    return new CheckFailure(
      `${who}: it speaks TLS, not plain HTTP`,
      `Write https:// in ${service.setting}.`,
    );
  }
  const isThere = peer.includes("answers there");
  return new CheckFailure(
    `${who}: ${isThere && peer.includes("HTTP server") ? errorMessage(error) : peer}`,
    isThere
      ? `Correct ${service.setting}: that is another program's port.`
      : (service.start ?? `Start it, or correct ${service.setting}.`),
  );
}

function refused(service: Service, url: URL, { status, text, headers }: Answer): CheckFailure {
  const said = clipped(messageOf(text), 120);
  if (status === 401 || status === 403) {
    return new CheckFailure(
      `The ${service.name} at ${url.host} refuses the credentials (HTTP ${status}${said === "" ? "" : `: ${said}`})`,
      `Correct ${service.credentials ?? `user:password@ in ${service.setting}`}.`,
    );
  }
  if (status >= 300 && status < 400) {
    const to = headers.get("location") ?? "nowhere";
    return notIt(service, `HTTP ${status} leads to ${clipped(to, 80)}`);
  }
  if (status === 404 || status === 405) {
    return notIt(service, `HTTP ${status} for ${url.pathname}`);
  }
  return new CheckFailure(
    `The ${service.name} at ${url.host} answers HTTP ${status}: ${said || "without a reason"}`,
    `Read the log of ${service.name}.`,
  );
}

function messageOf(text: string): string {
  const value = readJson(text);
  const { error, message } = isJsonObject(value) ? value : {};
  const said = typeof error === "string" ? error : message;
  return typeof said === "string" ? said : text;
}
