/**
 * A CUDA program in one task: `source` is compiled by nvcc in the container and run, `script` is run as it is.
 * Only another way to write a `container` task; its fields become those of one.
 */
import type { Json, JsonObject } from "../core/json.ts";
import type { ToolDescription } from "../dsl/tool-description.ts";
import { CONTAINER_FAILURES, CONTAINER_FIELDS, CONTAINER_RESULT } from "./container/description.ts";
import { readPlan } from "./container/plan.ts";
import { textsOf } from "./container/reading.ts";
import { splitWords } from "./container/words.ts";
import { createContainerTool } from "./container.ts";
import type { ToolModule } from "./tool.ts";

/** With nvcc. */
export const CUDA_IMAGE = "nvidia/cuda:12.9.1-devel-ubuntu24.04";
/** `native`: for the GPU that the task has. */
const NVCC_FLAGS = ["-O3", "-arch=native"] as const;
const SOURCE_FILE = "main.cu";
const PROGRAM = "/noetl/main";
const OWN_FIELDS = ["source", "script", "language", "flags"];

const DESCRIPTION: ToolDescription = {
  kind: "cuda",
  summary: "compiles and runs CUDA `source`, or runs a `script`, on one GPU in a container",
  runsOn: "worker",
  isDurable: true,
  gpuDefault: 1,
  needs: [{ oneOf: ["source", "script"], text: "a source or a script" }],
  fields: {
    source: { type: "text", about: "text of a .cu file", holds: "code" },
    script: { type: "text", about: "for a shell, or in `language`", holds: "code" },
    language: {
      type: "text",
      about: "of the script; one that begins with #! says it itself",
      choices: ["shell", "python"],
      default: "shell",
    },
    flags: { type: ["text", "list"], about: "for nvcc", default: NVCC_FLAGS.join(" ") },
    args: {
      type: ["list", "text"],
      about: "of the program: a list, or a text that is split at blanks outside quotes",
      holds: "commands",
    },
    image: {
      type: "text",
      about: "with nvcc for a source; with python3 for a python script",
      default: "that of NOETL_CUDA_IMAGE; for a shell script its runtime variant",
    },
    ...CONTAINER_FIELDS,
  },
  result: CONTAINER_RESULT,
  ...(CONTAINER_FAILURES === undefined ? {} : { failures: CONTAINER_FAILURES }),
  example: `kind: cuda
source: |
  #include <cstdio>
  __global__ void twice(int *x) { *x *= 2; }
  int main() {
    int *x; cudaMallocManaged(&x, sizeof(int)); *x = 21;
    twice<<<1, 1>>>(x); cudaDeviceSynchronize();
    printf("{\\"answer\\": %d}\\n", *x);
  }
gpu: { type: H100 }
`,
  check: (config) => checkCuda(config),
};

export const cudaModule: ToolModule = {
  descriptions: [DESCRIPTION],
  create: (parts) => [
    createContainerTool(DESCRIPTION, parts, (config) => containerConfig(config, parts.cudaImage)),
  ],
};

function checkCuda(config: JsonObject): readonly string[] {
  const { source, script, language, image, flags } = config;
  const problems = [...readPlan(containerConfig(config, CUDA_IMAGE)).problems];
  if (isText(source) && isText(script)) {
    problems.push("`script` cannot stand beside source: choose one");
  }
  if (isText(script) && language === "python" && !isText(image)) {
    const hint =
      "such as pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime: the CUDA images have no python";
    problems.push(`\`language\` python needs an image, ${hint}`);
  }
  if (flagsOf(flags) === undefined) {
    problems.push("`flags` must be a list of texts, or a text without open quotes");
  }
  return problems;
}

/** What `kind: container` would say. */
export function containerConfig(config: JsonObject, cudaImage: string): JsonObject {
  const others = Object.entries(config).filter(([name]) => !OWN_FIELDS.includes(name));
  const files = typeof config["files"] === "object" ? config["files"] : {};
  const { source, args } = config;
  const program = isText(source)
    ? sourceProgram(source, config)
    : scriptProgram(String(config["script"] ?? ""), config);
  const image = isText(config["image"]) ? config["image"] : program.image(cudaImage);
  const words = isText(args) ? (splitWords(args) ?? []) : (args ?? []);
  return {
    ...Object.fromEntries(others),
    image,
    files: { ...files, [program.file]: program.text },
    command: program.command,
    ...(Array.isArray(words) && words.length === 0 ? {} : { args: words }),
  };
}

interface Program {
  readonly file: string;
  readonly text: string;
  readonly command: readonly string[];
  readonly image: (cudaImage: string) => string;
}

function sourceProgram(text: string, { flags }: JsonObject): Program {
  const words = ["nvcc", ...(flagsOf(flags) ?? []), "-o", PROGRAM, `/noetl/files/${SOURCE_FILE}`];
  const compile = words.map(quoted).join(" ");
  const command = ["/bin/sh", "-c", `${compile} && exec ${PROGRAM} "$@"`, "sh"];
  return { file: SOURCE_FILE, text, command, image: (cudaImage) => cudaImage };
}

function scriptProgram(text: string, { language }: JsonObject): Program {
  const isPython = language === "python";
  const file = isPython ? "main.py" : "main.sh";
  const path = `/noetl/files/${file}`;
  const interpreter = isPython ? ["python3", "-u"] : ["/bin/sh"];
  const command = text.startsWith("#!") ? [path] : [...interpreter, path];
  return { file, text, command, image: (cudaImage) => cudaImage.replace("-devel", "-runtime") };
}

function flagsOf(flags: Json | undefined): readonly string[] | undefined {
  if (flags === undefined || flags === null || flags === "") {
    return NVCC_FLAGS;
  }
  return typeof flags === "string" ? splitWords(flags) : textsOf(flags);
}

function quoted(word: string): string {
  return /^[\w./=+,:-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function isText(value: Json | undefined): value is string {
  return typeof value === "string" && value.trim() !== "";
}
