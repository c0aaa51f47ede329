/**
 * Requests to the Kubernetes API, by fetch: the client library sends its own through agents that Bun does
 * not honour, so that it would not know the cluster's authority.
 *
 * What may pass (no answer, 429, 5xx) is repeated here; everything else is a {@link KubernetesApiError}.
 */
import { retry } from "../../core/backoff.ts";
import { errorMessage } from "../../core/errors.ts";
import type { Logger } from "../../observability/log.ts";
import { ContainerError } from "../runtime.ts";
import type { ClusterAccess } from "./access.ts";
import { readLines } from "./lines.ts";

export interface ApiRequest {
  readonly verb: "get" | "list" | "watch" | "create" | "patch" | "delete";
  /** Empty for pods, secrets and events; `version` is no group but a path. */
  readonly group: "" | "batch" | "authorization.k8s.io" | "version";
  /** `jobs`, `pods/log`. */
  readonly resource: string;
  /** Absent: the resource is the cluster's. */
  readonly namespace?: string;
  readonly name?: string;
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  readonly body?: unknown;
}

/** An answer that is no success; `status` 0: none at all. */
export class KubernetesApiError extends Error {
  override readonly name = "KubernetesApiError";
  readonly status: number;
  /** Of the API: `AlreadyExists`, `NotFound`, `Expired`. */
  readonly reason: string;
  readonly request: ApiRequest;

  constructor(request: ApiRequest, status: number, reason: string, message: string) {
    super(message);
    this.request = request;
    this.status = status;
    this.reason = reason;
  }

  /** True if the same request may succeed later. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const METHODS = {
  get: "GET",
  list: "GET",
  watch: "GET",
  create: "POST",
  patch: "PATCH",
  delete: "DELETE",
} as const;

const REQUEST_MS = 30_000;
const BACKOFF = { minMs: 200, maxMs: 10_000 };
/** Of an error's body. */
const MESSAGE_CHARS_MAX = 2000;

export class KubernetesApi {
  readonly #open: () => Promise<ClusterAccess>;
  readonly #log: Logger;
  #access: Promise<ClusterAccess> | undefined;

  /** @param open called when first needed, and again where it failed. */
  constructor(open: () => Promise<ClusterAccess>, log: Logger) {
    this.#open = open;
    this.#log = log;
  }

  async access(): Promise<ClusterAccess> {
    this.#access ??= this.#open().catch((error: unknown) => {
      this.#access = undefined;
      throw error;
    });
    return await this.#access;
  }

  /**
   * Sends it until there is an answer or the signal is aborted.
   *
   * @throws KubernetesApiError for an answer that is no success.
   */
  async call(request: ApiRequest, signal: AbortSignal): Promise<unknown> {
    return await retry(async () => await this.once(request, signal), {
      ...BACKOFF,
      signal,
      isRetryable: (error) => error instanceof KubernetesApiError && error.isPassing,
      onRetry: (error, attempt, delayMs) => {
        const level = attempt < 3 ? "debug" : "warn";
        const { verb, resource } = request;
        const reason = errorMessage(error);
        this.#log[level]("Kubernetes does not answer yet", { verb, resource, reason, delayMs });
      },
    });
  }

  /** One try. */
  async once(request: ApiRequest, signal: AbortSignal): Promise<unknown> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]);
    const response = await this.#send(request, limit);
    return await this.#reading(request, signal, () => response.json());
  }

  /** `v1.31.2`, of the cluster. */
  async version(signal: AbortSignal): Promise<string> {
    const request = { verb: "get", group: "version", resource: "" } as const;
    const { gitVersion } = (await this.once(request, signal)) as { readonly gitVersion?: string };
    return gitVersion ?? "";
  }

  /** Lines of an answer that goes on, one by one; ends with it. */
  async *stream(request: ApiRequest, signal: AbortSignal): AsyncGenerator<string> {
    const response = await this.#send(request, signal);
    if (response.body === null) {
      return;
    }
    try {
      yield* readLines(response.body, signal);
    } catch (error) {
      throw this.#unanswered(request, signal, error);
    }
  }

  async #send(request: ApiRequest, signal: AbortSignal): Promise<Response> {
    const response = await this.#fetch(request, signal, false);
    // A token may have been exchanged since it was read.
    const last = response.status === 401 ? await this.#fetch(request, signal, true) : response;
    if (last.ok) {
      return last;
    }
    throw refusal(request, last.status, await last.text().catch(() => ""));
  }

  async #fetch(request: ApiRequest, signal: AbortSignal, isRefused: boolean): Promise<Response> {
    const access = await this.access();
    const { headers, tls } = await this.#reading(request, signal, () =>
      access.credentials(isRefused),
    );
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const type = request.verb === "patch" ? "application/merge-patch+json" : "application/json";
    const url = `${access.server}${pathOf(request)}`;
    return await this.#reading(request, signal, () =>
      fetch(url, {
        method: METHODS[request.verb],
        headers: { ...headers, accept: "application/json", "content-type": type },
        ...(body === undefined ? {} : { body }),
        signal,
        tls: { ...tls },
        // A log may be silent for hours.
        timeout: false,
      } as RequestInit),
    );
  }

  async #reading<T>(request: ApiRequest, signal: AbortSignal, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      throw this.#unanswered(request, signal, error);
    }
  }

  #unanswered(request: ApiRequest, signal: AbortSignal, error: unknown): unknown {
    if (signal.aborted && signal.reason?.name !== "TimeoutError") {
      return signal.reason;
    }
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    const isDistrust = /CERT|SELF_SIGNED|UNABLE_TO_/.test(code);
    const text = errorMessage(error);
    return isDistrust
      ? new KubernetesApiError(request, 495, "Certificate", `The cluster is not trusted: ${text}`)
      : new KubernetesApiError(request, 0, "NoAnswer", `The cluster does not answer: ${text}`);
  }
}

/** True for an answer of that status. */
export function isStatus(error: unknown, status: number): boolean {
  return error instanceof KubernetesApiError && error.status === status;
}

function pathOf({ group, resource, namespace, name, query }: ApiRequest): string {
  if (group === "version") {
    return "/version";
  }
  const [plural, sub] = resource.split("/");
  const parts = [
    group === "" ? "/api/v1" : `/apis/${group}/v1`,
    ...(namespace === undefined ? [] : ["namespaces", encodeURIComponent(namespace)]),
    plural,
    ...(name === undefined ? [] : [encodeURIComponent(name)]),
    ...(sub === undefined ? [] : [sub]),
  ];
  const search = new URLSearchParams(
    Object.entries(query ?? {}).map(([key, value]): [string, string] => [key, String(value)]),
  ).toString();
  return `${parts.join("/")}${search === "" ? "" : `?${search}`}`;
}

/** Errors are of kind `Status`, unless something before the API answered. */
function refusal(request: ApiRequest, status: number, text: string): KubernetesApiError {
  const body = parseStatus(text);
  const message = (body.message ?? text).slice(0, MESSAGE_CHARS_MAX);
  return new KubernetesApiError(
    request,
    status,
    body.reason ?? "",
    message === "" ? `Kubernetes answered ${status}` : message,
  );
}

function parseStatus(text: string): { readonly message?: string; readonly reason?: string } {
  try {
    const { message, reason } = JSON.parse(text) as { message?: unknown; reason?: unknown };
    return {
      ...(typeof message === "string" ? { message } : {}),
      ...(typeof reason === "string" ? { reason } : {}),
    };
  } catch {
    return {}; // A proxy's page.
  }
}

/** What it is to the task: kind, code, and what to do about it. Anything else is given back as it is. */
export function explain(error: unknown): unknown {
  if (!(error instanceof KubernetesApiError)) {
    return error;
  }
  const { status, message } = error;
  if (status === 401) {
    return new ContainerError(
      "auth",
      "KUBERNETES_UNAUTHORIZED",
      `The cluster does not accept this worker's token (${message}): look at its service account, or at the kubeconfig`,
    );
  }
  if (status === 403) {
    return forbidden(error);
  }
  if (status === 404) {
    return new ContainerError("not_found", "KUBERNETES_NOT_FOUND", message);
  }
  if (status === 422 || status === 400) {
    return new ContainerError("schema", "KUBERNETES_INVALID", message);
  }
  if (status === 413) {
    return new ContainerError("limit", "KUBERNETES_TOO_LARGE", message);
  }
  return new ContainerError("connection", "KUBERNETES_ERROR", message, error.isPassing);
}

function forbidden({ request, message }: KubernetesApiError): ContainerError {
  if (/exceeded quota/.test(message)) {
    return new ContainerError("limit", "KUBERNETES_QUOTA", message, true);
  }
  if (/violates PodSecurity|admission webhook/.test(message)) {
    return new ContainerError("schema", "KUBERNETES_POLICY", message);
  }
  const { verb, resource, group, namespace = "its namespace" } = request;
  const rule = `{apiGroups: ["${group}"], resources: ["${resource}"], verbs: ["${verb}"]}`;
  return new ContainerError(
    "auth",
    "KUBERNETES_FORBIDDEN",
    `The worker's service account may not ${verb} ${resource} in the namespace ${namespace}: add the rule ${rule} to its Role there (${message})`,
  );
}
