/** Texts are what the programs named beside them really write. */
import { describe, expect, test } from "bun:test";
import type { FailureKind } from "../../../../src/engine/failure.ts";
import { endFailure, OutputWatch } from "../../../../src/tools/container/failure.ts";

interface Program {
  readonly lines: readonly string[];
  readonly exitCode?: number;
  readonly hasGpus?: boolean;
  readonly isRootWritable?: boolean;
  readonly gpuReason?: string;
}

function failureOf({ lines, exitCode = 1, hasGpus = true, ...context }: Program) {
  const watch = new OutputWatch(hasGpus);
  for (const line of lines) {
    watch.line("stderr", line);
  }
  return endFailure({ exitCode }, { watch, isRootWritable: true, ...context });
}

const kindOf = (...lines: readonly string[]): FailureKind | undefined => failureOf({ lines })?.kind;

describe("a GPU without memory is oom_gpu, in the words of", () => {
  test.each([
    [
      "PyTorch 1",
      "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 14.76 GiB total capacity; 13.64 GiB already allocated)",
    ],
    [
      "PyTorch 2",
      "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 79.20 GiB total capacity)",
    ],
    [
      "PyTorch 2.5",
      "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 30.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 10.02 GiB is free.",
    ],
    ["PyTorch, of the runtime", "RuntimeError: CUDA error: out of memory"],
    [
      "PyTorch, of cuBLAS",
      "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
    ["PyTorch, of cuDNN", "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED"],
    [
      "TensorFlow",
      "tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when allocating tensor with shape[64,512,512] and type float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc",
    ],
    [
      "TensorFlow, in a function",
      "tensorflow.python.framework.errors_impl.ResourceExhaustedError: {{function_node __wrapped__AddV2_device_/job:localhost/replica:0/task:0/device:GPU:0}} failed to allocate memory [Op:AddV2]",
    ],
    [
      "JAX",
      "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes.",
    ],
    [
      "a new JAX",
      "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 68719476736 bytes.",
    ],
    [
      "XLA",
      "INTERNAL: RESOURCE_EXHAUSTED: Failed to allocate request for 2.00GiB on device ordinal 0",
    ],
    [
      "the CUDA samples",
      'CUDA error at vectorAdd.cu:82 code=2(cudaErrorMemoryAllocation) "cudaMalloc((void **)&d_A, size)"',
    ],
    ["a program with cudaGetErrorString", "CUDA error 2: out of memory"],
    ["llama.cpp", "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"],
    [
      "ONNX Runtime",
      "CUDA failure 2: out of memory ; GPU=0 ; hostname=box ; expr=cudaMalloc((void**)&p, size);",
    ],
    ["NCCL", "box:31:31 [0] transport/net.cc:1024 NCCL WARN Cuda failure 2 'out of memory'"],
    [
      "TensorRT",
      "[E] [TRT] 1: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)",
    ],
    [
      "CuPy",
      "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,589,934,592 bytes (allocated so far: 0 bytes).",
    ],
    [
      "Numba",
      "numba.cuda.cudadrv.driver.CudaAPIError: [2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY",
    ],
    [
      "RMM",
      "MemoryError: std::bad_alloc: out_of_memory: CUDA error at: /rmm/mr/device/cuda_memory_resource.hpp:60: cudaErrorMemoryAllocation out of memory",
    ],
  ])("%s", (_program, line) => {
    expect(kindOf("Traceback (most recent call last):", line)).toBe("oom_gpu");
  });
});

describe("a broken device is gpu_fault, in the words of", () => {
  test.each([
    ["PyTorch", "RuntimeError: CUDA error: uncorrectable ECC error encountered"],
    ["NVLink", "CUDA error: uncorrectable NVLink error detected during the execution"],
    ["the driver", "CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered"],
    [
      "nvidia-smi",
      "Unable to determine the device handle for GPU 0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU",
    ],
    [
      "the kernel",
      "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
    ],
    [
      "the kernel, of double bit errors",
      "NVRM: Xid (PCI:0000:3b:00): 48, pid=1234, Double Bit ECC Error",
    ],
    ["a container that has lost its devices", "Failed to initialize NVML: Unknown Error"],
    [
      "a busy device",
      "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    ],
    [
      "a fabric that is not up",
      "RuntimeError: CUDA driver initialization failed: Error 802: system not yet initialized",
    ],
    [
      "a leased device that is not there",
      "RuntimeError: No CUDA GPUs: no CUDA-capable device is detected",
    ],
  ])("%s", (_program, line) => {
    expect(kindOf(line)).toBe("gpu_fault");
  });
});

describe("the program's own fault is exit_code, such as", () => {
  test.each([
    ["an address", "RuntimeError: CUDA error: an illegal memory access was encountered"],
    ["a launch", "CUDA error: unspecified launch failure"],
    ["an assertion", "RuntimeError: CUDA error: device-side assert triggered"],
    ["a driver that is too old", "CUDA driver version is insufficient for CUDA runtime version"],
    ["an application's XID", "NVRM: Xid (PCI:0000:3b:00): 13, pid=1234, Graphics Exception"],
    ["Python's own memory", "MemoryError: Unable to allocate 7.45 GiB for an array"],
    [
      "gRPC's word for something else",
      "grpc: RESOURCE_EXHAUSTED: Received message larger than max (5000000 vs. 4194304)",
    ],
    ["a word in passing", "the report mentions a GPU, CUDA and memory"],
  ])("%s", (_program, line) => {
    expect(failureOf({ lines: [line] })).toMatchObject({ kind: "exit_code", code: "EXIT_1" });
  });

  test("a GPU that it forgot to ask for", () => {
    const lines = ["CUDA error: no CUDA-capable device is detected"];
    expect(failureOf({ lines, hasGpus: false })).toMatchObject({ kind: "exit_code" });
  });
});

describe("what is said on the way", () => {
  const warning =
    "W tensorflow/core/common_runtime/bfc_allocator.cc:290] Allocator (GPU_0_bfc) ran out of memory trying to allocate 2.29GiB";

  test("a warning counts only if little follows", () => {
    expect(kindOf(warning, "Killed")).toBe("oom_gpu");
    const rest = Array.from({ length: 30 }, (_, index) => `step ${index}`);
    expect(kindOf(warning, ...rest, "ValueError: bad shape")).toBe("exit_code");
  });

  test("a clear word is found however long ago it was, and is not hidden by a warning", () => {
    const rest = Array.from({ length: 500 }, (_, index) => `frame ${index}`);
    expect(kindOf("CUDA error: uncorrectable ECC error encountered", warning, ...rest)).toBe(
      "gpu_fault",
    );
  });

  test("a success stays one", () => {
    expect(failureOf({ lines: ["CUDA out of memory, trying a smaller batch"], exitCode: 0 })).toBe(
      undefined,
    );
  });

  test("a GPU that was taken out of service explains what the program does not", () => {
    const gpuReason = "NVIDIA H100: XID 79, the GPU has fallen off the bus";
    expect(failureOf({ lines: ["Aborted"], gpuReason })).toMatchObject({
      kind: "gpu_fault",
      message: expect.stringContaining("XID 79"),
      retryable: true,
    });
  });
});

describe("exit codes", () => {
  test("have the last line and the end of stderr", () => {
    const lines = Array.from({ length: 40 }, (_, index) => `line ${index}`);
    const failed = failureOf({ lines, exitCode: 3 });
    expect(failed).toMatchObject({
      kind: "exit_code",
      code: "EXIT_3",
      message: "the container exited with code 3: line 39",
      retryable: false,
    });
    expect(failed?.stderr?.split("\n")).toHaveLength(20);
  });

  test.each([
    [126, "cannot be executed"],
    [127, "no such command"],
    [137, "SIGKILL"],
    [139, "SIGSEGV"],
    [143, "SIGTERM"],
  ])("%i says what it means", (exitCode, text) => {
    expect(failureOf({ lines: [], exitCode })).toMatchObject({
      kind: "exit_code",
      message: expect.stringContaining(text),
    });
  });

  test("a root file system that cannot be written to is pointed out", () => {
    const lines = ["OSError: [Errno 30] Read-only file system: '/root/.triton'"];
    expect(failureOf({ lines, isRootWritable: false })?.message).toContain("read_only: false");
    expect(failureOf({ lines })?.message).not.toContain("read_only");
  });
});

describe("what the runtime saw decides", () => {
  test.each([
    ["oom_host", "OOM_HOST", "cgroup: oom_kill 1", "raise resources.memory"],
    ["image_pull", "IMAGE_PULL", "ErrImagePull: no such image", "could not be pulled"],
    ["timeout", "DEADLINE_EXCEEDED", "DeadlineExceeded", "longer than it may"],
    ["worker_lost", "WORKER_LOST", "node gpu-7 is gone", "was lost"],
    ["limit", "EVICTED", "Evicted: low on memory", "put off"],
  ] as const)("%s", (kind, code, proof, text) => {
    const watch = new OutputWatch(true);
    watch.line("stderr", "RuntimeError: CUDA error: out of memory");
    const cause = { kind, proof };
    const context = { watch, isRootWritable: true, memoryLimit: "512Mi" };
    const failed = endFailure({ exitCode: 137, cause }, context);
    expect(failed).toMatchObject({ kind, code });
    expect(failed?.message).toContain(proof);
    expect(failed?.message).toContain(text);
  });
});
