/** Gets images, as a phase of its own: with progress, and errors that say what to do. */
import type { Cli } from "./cli.ts";
import { isMissing, pullError } from "./cli-error.ts";
import { runCli } from "./cli-process.ts";
import type { Dialect } from "./dialect.ts";
import { textOf, treeOf } from "./inspection.ts";
import { NO_LOGIN, writeLogin } from "./registry-login.ts";
import type { ImageInfo, PullOptions } from "./runtime.ts";
import { ContainerError } from "./runtime.ts";

/** The caller's signal ends a pull; this only bounds a mistake. */
const PULL_MS_MAX = 24 * 3_600_000;
/** A local image that was found is taken to be there for so long. */
const FOUND_MS = 30_000;
const PROGRESS_EVERY_MS = 1000;

export class Images {
  readonly #cli: Cli;
  readonly #dialect: Dialect;
  readonly #dir: string;
  readonly #found = new Map<string, { readonly digest: string; readonly atMs: number }>();

  /** @param dir for files of a pull, where no folder in memory is. */
  constructor(cli: Cli, dialect: Dialect, dir: string) {
    this.#cli = cli;
    this.#dialect = dialect;
    this.#dir = dir;
  }

  /** The next look for it asks the runtime. */
  forget(image: string): void {
    this.#found.delete(image);
  }

  async pull(image: string, options: PullOptions): Promise<ImageInfo> {
    options.signal.throwIfAborted();
    if (options.policy !== "always") {
      const digest = await this.#digestOf(image, options.signal);
      if (digest !== undefined) {
        return { digest, wasPulled: false };
      }
    }
    if (options.policy === "never") {
      throw new ContainerError(
        "image_pull",
        "IMAGE_NEVER_PULLED",
        `${image} is not on this machine, and pull_policy is never: pull it there, or choose missing`,
        false,
      );
    }
    await this.#pullNow(image, options);
    this.forget(image);
    const digest = await this.#digestOf(image, options.signal);
    return { digest: digest ?? "", wasPulled: true };
  }

  async #digestOf(image: string, signal: AbortSignal): Promise<string | undefined> {
    const known = this.#found.get(image);
    if (known !== undefined && performance.now() - known.atMs < FOUND_MS) {
      return known.digest;
    }
    const result = await this.#cli.call(["image", "inspect", image], { signal });
    const digest = result.exitCode === 0 ? digestIn(result.stdout, image) : undefined;
    if (digest === undefined) {
      this.#found.delete(image);
      if (!isMissing(result.stderr) && /invalid reference/i.test(result.stderr)) {
        throw pullError(this.#cli.name, image, result.stderr);
      }
      return undefined;
    }
    this.#found.set(image, { digest, atMs: performance.now() });
    return digest;
  }

  async #pullNow(image: string, { login, signal, onProgress }: PullOptions): Promise<void> {
    const { program, env } = this.#cli.access;
    const dialect = this.#dialect;
    const files =
      login === undefined
        ? NO_LOGIN
        : await writeLogin(login, image, { dialect, env, fallbackDir: this.#dir });
    try {
      await this.#cli.whileAway(
        async () => {
          const result = await runCli([program, "pull", ...files.flags, image], {
            env: { ...env, ...files.env },
            timeoutMs: PULL_MS_MAX,
            signal,
            onLine: createProgress(onProgress),
          });
          if (result.exitCode !== 0) {
            throw pullError(this.#cli.name, image, `${result.stdout}\n${result.stderr}`);
          }
        },
        { signal },
      );
    } finally {
      await files.remove();
    }
  }
}

/** Manifest's digest of the repository that was asked for, of any other, or the image's id. */
export function digestIn(text: string, image: string): string | undefined {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return undefined;
  }
  const info = treeOf(Array.isArray(found) ? found[0] : undefined);
  const listed = Array.isArray(info["RepoDigests"]) ? info["RepoDigests"].map(textOf) : [];
  const [repository] = image.replace(/@.*$/, "").split(/:(?=[^/:]*$)/);
  const own = listed.find((entry) => entry.split("@")[0]?.endsWith(repository ?? image));
  const digest = (own ?? listed[0])?.split("@")[1] ?? textOf(info["Id"]);
  if (digest === "") {
    return undefined;
  }
  return digest.includes(":") ? digest : `sha256:${digest}`;
}

/** Counts layers in what docker and podman say without a terminal; at most a line a second. */
export function createProgress(
  onProgress: (line: string) => void,
  now: () => number = () => performance.now(),
): (line: string) => void {
  const known = new Set<string>();
  const ready = new Set<string>();
  let shownAtMs = Number.NEGATIVE_INFINITY;
  let shown = "";
  return (line) => {
    const { layer, isReady } = layerIn(line);
    if (layer === undefined) {
      return;
    }
    known.add(layer);
    if (isReady) {
      ready.add(layer);
    }
    const text = `layer ${ready.size} of ${known.size}`;
    if (text !== shown && now() - shownAtMs >= PROGRESS_EVERY_MS) {
      shown = text;
      shownAtMs = now();
      onProgress(text);
    }
  };
}

function layerIn(line: string): { readonly layer?: string; readonly isReady: boolean } {
  const [, docker, state = ""] = /^([0-9a-f]{12}): (.+)$/.exec(line.trim()) ?? [];
  if (docker !== undefined) {
    return { layer: docker, isReady: /^(Pull complete|Already exists)/.test(state) };
  }
  const [, podman, rest = ""] =
    /^Copying blob (?:sha256:)?([0-9a-f]{12})[0-9a-f]*(.*)$/.exec(line.trim()) ?? [];
  const isReady = /done|skipped|already exists/.test(rest);
  return podman === undefined ? { isReady } : { layer: podman, isReady };
}
