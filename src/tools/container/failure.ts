/**
 * What the end of a container means: its exit code, what the runtime saw, and what the program wrote.
 *
 * CUDA programs end with code 1 whatever happened to them, so their messages decide. A fault of the program, such
 * as an illegal memory access, is an `exit_code` like any other; `gpu_fault` is what only another GPU, a reset or
 * a person can cure.
 */
import type { ContainerEnd } from "../../containers/runtime.ts";
import type { Failure, FailureKind } from "../../engine/failure.ts";
import { failure } from "../../engine/failure.ts";

/** A message that explains an exit code. */
interface Sign {
  readonly kind: Extract<FailureKind, "oom_gpu" | "gpu_fault">;
  readonly pattern: RegExp;
  /** True: programs also write it and go on, so it only counts among the last lines. */
  readonly isWeak?: true;
  /** True: without GPUs of its own the task has only forgotten to ask for one. */
  readonly isOfLease?: true;
}

const SIGNS: readonly Sign[] = [
  // A broken device first: its messages may speak of memory too.
  { kind: "gpu_fault", pattern: /uncorrectable (?:ECC|NVLink) error/i },
  { kind: "gpu_fault", pattern: /cudaError(?:ECCUncorrectable|NvlinkUncorrectable)\b/ },
  { kind: "gpu_fault", pattern: /CUDA_ERROR_(?:ECC|NVLINK)_UNCORRECTABLE\b/ },
  { kind: "gpu_fault", pattern: /\bGPU is lost\b|has fallen off the bus/i },
  { kind: "gpu_fault", pattern: /NVRM: Xid .*: (?:48|63|64|74|79|94|95|119|120|140),/ },
  { kind: "gpu_fault", pattern: /Failed to initialize NVML: (?:Unknown Error|GPU|Driver)/i },
  { kind: "gpu_fault", pattern: /cudaErrorDevicesUnavailable|CUDA_ERROR_DEVICE_UNAVAILABLE/ },
  { kind: "gpu_fault", pattern: /CUDA-capable device\(s\) is\/are busy or unavailable/ },
  { kind: "gpu_fault", pattern: /cudaErrorSystemNotReady|CUDA_ERROR_SYSTEM_NOT_READY/ },
  { kind: "gpu_fault", pattern: /Error 802: system not yet initialized/ },
  { kind: "gpu_fault", pattern: /no CUDA-capable device is detected/, isOfLease: true },
  { kind: "gpu_fault", pattern: /cudaErrorNoDevice\b|CUDA_ERROR_NO_DEVICE\b/, isOfLease: true },
  // PyTorch, and what is built on it.
  { kind: "oom_gpu", pattern: /CUDA out of memory\b|CUDA error: out of memory\b/ },
  { kind: "oom_gpu", pattern: /torch\.(?:cuda\.)?OutOfMemoryError\b/ },
  // TensorFlow.
  { kind: "oom_gpu", pattern: /ResourceExhaustedError.*(?:OOM|memory)/i },
  { kind: "oom_gpu", pattern: /OOM when allocating tensor .*device:GPU/ },
  { kind: "oom_gpu", pattern: /Allocator \(GPU_\d+_bfc\) ran out of memory/, isWeak: true },
  // JAX and XLA; gRPC has the same word for other things.
  {
    kind: "oom_gpu",
    pattern: /RESOURCE_EXHAUSTED: .*(?:out of memory|failed to allocate|allocating)/i,
  },
  // CUDA itself and its libraries: runtime error 2, driver error 2.
  { kind: "oom_gpu", pattern: /cudaErrorMemoryAllocation\b/ },
  { kind: "oom_gpu", pattern: /cuda (?:error|failure):? *(?:code=)?2\b.*(?:out of memory|alloc)/i },
  { kind: "oom_gpu", pattern: /cuda[\w ]*(?:failed|failure|error)\b.*\bout of memory\b/i },
  { kind: "oom_gpu", pattern: /Cuda Runtime \(out of memory\)/ },
  { kind: "oom_gpu", pattern: /CUDA_ERROR_OUT_OF_MEMORY\b/, isWeak: true },
  {
    kind: "oom_gpu",
    pattern: /CU(?:BLAS|DNN|SOLVER|SPARSE|TENSOR)_STATUS_(?:\w+_)?ALLOC_FAILED\b/,
  },
  { kind: "oom_gpu", pattern: /CUFFT_ALLOC_FAILED\b|CURAND_STATUS_ALLOCATION_FAILED\b/ },
  { kind: "oom_gpu", pattern: /cupy\.cuda\.memory\.OutOfMemoryError\b/ },
];

/** What every sign has; most lines have nothing of it. */
const RELEVANT = /memory|oom|alloc|exhausted|cuda|gpu|nvml|nvrm|nvlink|802/i;
const TAIL_LINES_MAX = 20;
const LINE_CHARS_MAX = 500;
/** Beyond it a line is data, and searching it costs. */
const SEARCH_CHARS_MAX = 4000;

interface Finding {
  readonly sign: Sign;
  readonly line: string;
  readonly number: number;
}

/** Reads along what a program writes, and keeps what may explain its end. */
export class OutputWatch {
  readonly #hasGpus: boolean;
  readonly #stderr: string[] = [];
  readonly #tail: string[] = [];
  #finding: Finding | undefined;
  #lineCount = 0;

  constructor(hasGpus: boolean) {
    this.#hasGpus = hasGpus;
  }

  line(stream: "stdout" | "stderr", text: string): void {
    this.#lineCount++;
    keepLast(this.#tail, text);
    if (stream === "stderr") {
      keepLast(this.#stderr, text);
    }
    const sign = this.#signOf(text.slice(0, SEARCH_CHARS_MAX));
    const hasStrong = this.#finding !== undefined && this.#finding.sign.isWeak !== true;
    if (sign !== undefined && !(sign.isWeak === true && hasStrong)) {
      const line = text.trim().slice(0, LINE_CHARS_MAX);
      this.#finding = { sign, line, number: this.#lineCount };
    }
  }

  /** What explains that the program has failed. */
  explanation(): { readonly kind: FailureKind; readonly line: string } | undefined {
    const finding = this.#finding;
    const age = this.#lineCount - (finding?.number ?? 0);
    return finding === undefined || (finding.sign.isWeak === true && age >= TAIL_LINES_MAX)
      ? undefined
      : { kind: finding.sign.kind, line: finding.line };
  }

  /** The last lines for errors, or all last lines where there are none. */
  get tail(): string {
    return (this.#stderr.length > 0 ? this.#stderr : this.#tail).join("\n");
  }

  #signOf(text: string): Sign | undefined {
    if (!RELEVANT.test(text)) {
      return undefined;
    }
    return SIGNS.find(
      ({ pattern, isOfLease }) => (this.#hasGpus || !isOfLease) && pattern.test(text),
    );
  }
}

function keepLast(lines: string[], text: string): void {
  lines.push(text.slice(0, LINE_CHARS_MAX));
  if (lines.length > TAIL_LINES_MAX) {
    lines.shift();
  }
}

export interface EndContext {
  readonly watch: OutputWatch;
  /** As the task wrote it, where there is one. */
  readonly memoryLimit?: string;
  /** What is wrong with one of its GPUs, if something is. */
  readonly gpuReason?: string;
  /** What the kernel's log says of its GPUs since it began, half sentences. */
  readonly xids?: readonly string[];
  readonly isRootWritable: boolean;
}

/** The failure that an end is; undefined: a success. */
export function endFailure(
  { exitCode, cause }: Pick<ContainerEnd, "exitCode" | "cause">,
  context: EndContext,
): Failure | undefined {
  const stderr = context.watch.tail;
  const more = stderr === "" ? {} : { stderr };
  if (cause !== undefined) {
    return failure(cause.kind, causeText(cause, context), { ...CAUSE_CODES[cause.kind], ...more });
  }
  if (exitCode === 0) {
    return undefined;
  }
  const found = context.watch.explanation();
  if (found !== undefined) {
    return failure(found.kind, `${KIND_TEXTS[found.kind] ?? ""}: ${found.line}`, more);
  }
  if (context.gpuReason !== undefined) {
    const message = `${exitText(exitCode, context)}; a GPU of it is broken: ${context.gpuReason}`;
    return failure("gpu_fault", message, more);
  }
  return failure("exit_code", exitText(exitCode, context), { code: `EXIT_${exitCode}`, ...more });
}

type Cause = NonNullable<ContainerEnd["cause"]>;

const CAUSE_CODES: Readonly<Partial<Record<Cause["kind"], { readonly code: string }>>> = {
  timeout: { code: "DEADLINE_EXCEEDED" },
  limit: { code: "EVICTED" },
};
const KIND_TEXTS: Readonly<Partial<Record<FailureKind, string>>> = {
  oom_gpu: "the GPU had no memory left for the task",
  gpu_fault: "the GPU failed",
};

function causeText({ kind, proof }: Cause, { memoryLimit }: EndContext): string {
  switch (kind) {
    case "oom_host":
      return memoryLimit === undefined
        ? `the task was killed because it used too much memory (${proof})`
        : `the task was killed because it used more memory than it may, ${memoryLimit} (${proof}): raise resources.memory`;
    case "image_pull":
      return `the image could not be pulled (${proof})`;
    case "timeout":
      return `the task ran longer than it may (${proof})`;
    case "worker_lost":
      return `the machine that the task ran on was lost (${proof})`;
    case "limit":
      return `the task was put off its machine (${proof})`;
  }
}

const SIGNALS: Readonly<Record<number, string>> = {
  129: "SIGHUP",
  130: "SIGINT",
  131: "SIGQUIT",
  132: "SIGILL",
  134: "SIGABRT",
  135: "SIGBUS",
  136: "SIGFPE",
  137: "SIGKILL",
  139: "SIGSEGV",
  143: "SIGTERM",
};
const HINTS: Readonly<Record<number, string>> = {
  126: "the command cannot be executed",
  127: "the image has no such command",
  137: "killed from outside, and nothing shows that memory was the reason",
};

function exitText(exitCode: number, { watch, isRootWritable, xids = [] }: EndContext): string {
  const last = watch.tail.trimEnd().split("\n").at(-1)?.trim() ?? "";
  const signal = SIGNALS[exitCode];
  const hint = HINTS[exitCode];
  return [
    `the container exited with code ${exitCode}`,
    signal === undefined ? "" : ` (${signal})`,
    hint === undefined ? "" : `, ${hint}`,
    last === "" ? "" : `: ${last}`,
    xids.length === 0 ? "" : `; the kernel's log: ${xids.join("; ")}`,
    !isRootWritable && /read-only file system/i.test(watch.tail) ? `; ${READ_ONLY_HINT}` : "",
  ].join("");
}

const READ_ONLY_HINT =
  "its root file system is read-only: write below /tmp or /noetl, or set read_only: false";
