/** The pull of an image: a phase of its own, with a limit and a kind of failure of its own. */
import type {
  ContainerRuntime,
  ImageInfo,
  PullOptions,
  RegistryLogin,
} from "../../containers/runtime.ts";
import { ContainerError } from "../../containers/runtime.ts";

export interface PullCall {
  readonly image: string;
  readonly policy: PullOptions["policy"];
  readonly timeoutMs: number;
  readonly login: RegistryLogin | undefined;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

/** @throws ContainerError of kind `image_pull`; what the runtime throws once `signal` is aborted. */
export async function pullImage(
  runtime: Pick<ContainerRuntime, "pull">,
  call: PullCall,
): Promise<ImageInfo> {
  const { image, policy, timeoutMs, login, signal, say } = call;
  const limit = AbortSignal.timeout(timeoutMs);
  let isSaid = policy === "always";
  if (isSaid) {
    say(`pulling ${image}`);
  }
  try {
    const found = await runtime.pull(image, {
      policy,
      signal: AbortSignal.any([signal, limit]),
      onProgress: (line) => {
        say(isSaid ? line : `pulling ${image}: ${line}`);
        isSaid = true;
      },
      ...(login === undefined ? {} : { login }),
    });
    say(`image ${image} is ${found.digest}${found.wasPulled ? "" : ", which was here"}`);
    return found;
  } catch (error) {
    throw limit.aborted && !signal.aborted ? late(image, timeoutMs) : error;
  }
}

function late(image: string, timeoutMs: number): ContainerError {
  const message = `Image ${image} was not here after ${seconds(timeoutMs)} s (timeouts.pull)`;
  return new ContainerError("image_pull", "IMAGE_PULL_TIMEOUT", message);
}

/** To the millisecond. */
export function seconds(ms: number): number {
  return Math.round(ms) / 1000;
}
