import { AppError } from "../../../src/core/errors.ts";
import type { Json, JsonObject } from "../../../src/core/json.ts";
import { checkRendered } from "../../../src/dsl/tool-check.ts";
import type { Failure } from "../../../src/engine/failure.ts";
import type { GpuGrant } from "../../../src/engine/gpu.ts";
import type {
  Artifacts,
  Credential,
  Tool,
  ToolCommand,
  ToolOutcome,
} from "../../../src/tools/tool.ts";
import { CredentialError } from "../../../src/tools/tool.ts";

export interface Call {
  readonly config: JsonObject;
  readonly input?: JsonObject;
  readonly context?: JsonObject;
  readonly names?: JsonObject;
  readonly signal?: AbortSignal;
  readonly credentials?: Readonly<Record<string, Omit<Credential, "name">>>;
  /** In place of `credentials`. */
  readonly credential?: (name: string) => Promise<Credential>;
  /** Default: none, and none can be put. */
  readonly artifacts?: Artifacts;
  readonly command?: ToolCommand;
  readonly gpus?: readonly GpuGrant[];
  readonly onPark?: () => void;
  /** Default: gives null. */
  readonly resolve?: (ref: string) => Promise<Json>;
  /** Told of each line as it arrives. */
  readonly onLog?: (stream: string, line: string, timeMs?: number) => void;
}

const noArtifact = (): Promise<never> =>
  Promise.reject(new AppError("not_found", "RESULT_NOT_FOUND", "There is no stored value"));

const NO_ARTIFACTS: Artifacts = {
  describe: noArtifact,
  read: noArtifact,
  put: noArtifact,
  list: () => Promise.resolve([]),
  remove: () => Promise.resolve(false),
};

export interface Ran {
  readonly outcome: ToolOutcome;
  /** `stdout: line` or `stderr: line`. */
  readonly logs: readonly string[];
}

/** Runs one task the way an executor does. */
export async function run(tool: Tool | undefined, call: Call): Promise<Ran> {
  if (tool === undefined) {
    throw new Error("no such tool");
  }
  const logs: string[] = [];
  const outcome = await tool.run(
    {
      label: "task",
      config: call.config,
      input: call.input ?? {},
      context: call.context ?? {},
      names: call.names ?? {},
      executionId: "7300000000000000001",
      step: "a_step",
      attempt: 1,
    },
    {
      signal: call.signal ?? new AbortController().signal,
      timeoutMs: undefined,
      log: (stream, line, timeMs) => {
        logs.push(`${stream}: ${line}`);
        call.onLog?.(stream, line, timeMs);
      },
      credential: (name) => {
        if (call.credential !== undefined) {
          return call.credential(name);
        }
        const found = call.credentials?.[name];
        return found === undefined
          ? Promise.reject(new CredentialError(noCredential(name)))
          : Promise.resolve({ name, ...found });
      },
      resolve: call.resolve ?? (() => Promise.resolve(null)),
      artifacts: call.artifacts ?? NO_ARTIFACTS,
      command: call.command ?? { executionId: "7300000000000000001", commandId: "1", attempt: 1 },
      gpus: call.gpus ?? [],
      park: () => call.onPark?.(),
    },
  );
  return { outcome, logs };
}

function noCredential(name: string): Failure {
  return { kind: "auth", code: "AUTH", message: `no credential "${name}"`, retryable: false };
}

/** What an executor would refuse before it runs the task. */
export function problemsOf(tool: Tool | undefined, config: JsonObject): readonly string[] {
  if (tool === undefined) {
    throw new Error("no such tool");
  }
  return checkRendered(tool.description, config).map(({ message }) => message);
}

/** The value of a task that must succeed. */
export async function valueFrom(tool: Tool | undefined, call: Call): Promise<Json> {
  const { outcome } = await run(tool, call);
  if (!outcome.ok) {
    throw new Error(JSON.stringify(outcome.failure));
  }
  return outcome.value;
}

/** The failure of a task that must fail. */
export async function failureFrom(tool: Tool | undefined, call: Call): Promise<Failure> {
  const { outcome } = await run(tool, call);
  if (outcome.ok) {
    throw new Error(`expected a failure, got ${JSON.stringify(outcome.value).slice(0, 300)}`);
  }
  return outcome.failure;
}
