/**
 * The standard reflection service, answered from the descriptors that protoc wrote beside the
 * generated code. They are embedded, so a compiled binary needs no .proto files at run time, which
 * is what the ready-made package reads.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { status as grpcStatus } from "@grpc/grpc-js";
import type { DescribedFile } from "./descriptor.ts";
import { describeFiles } from "./descriptor.ts";
import type {
  ServerReflectionRequest,
  ServerReflectionResponse,
  ServerReflectionServer,
} from "./generated/grpc/reflection/v1/reflection.ts";
import { ServerReflectionService } from "./generated/grpc/reflection/v1/reflection.ts";
import descriptorPath from "./generated/noetl.binpb" with { type: "file" };

/** The same service under the name that older clients ask for. */
export const ServerReflectionV1AlphaService = {
  serverReflectionInfo: {
    ...ServerReflectionService.serverReflectionInfo,
    path: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
  },
} as const;

/** Reads the embedded descriptors. */
export async function createReflection(): Promise<ServerReflectionServer> {
  const index = new DescriptorIndex(describeFiles(await Bun.file(descriptorPath).bytes()));
  return {
    serverReflectionInfo(
      call: ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>,
    ) {
      call.on("data", (request: ServerReflectionRequest) => call.write(answer(index, request)));
      call.on("end", () => call.end());
    },
  };
}

class DescriptorIndex {
  readonly #files: readonly DescribedFile[];

  constructor(files: readonly DescribedFile[]) {
    this.#files = files;
  }

  get services(): readonly string[] {
    return this.#files.flatMap((file) => file.services);
  }

  /** The file and all it imports; empty when there is none. */
  byName(name: string): readonly DescribedFile[] {
    const file = this.#files.find((candidate) => candidate.name === name);
    return file === undefined
      ? []
      : [file, ...file.imports.flatMap((imported) => this.byName(imported))];
  }

  /** Where a service, method, message or field is defined. */
  bySymbol(symbol: string): readonly DescribedFile[] {
    const file = this.#files.find(({ symbols }) =>
      symbols.some((name) => symbol === name || symbol.startsWith(`${name}.`)),
    );
    return file === undefined ? [] : this.byName(file.name);
  }
}

function answer(
  index: DescriptorIndex,
  request: ServerReflectionRequest,
): ServerReflectionResponse {
  return {
    validHost: request.host,
    originalRequest: request,
    messageResponse: answerTo(index, request.messageRequest),
  };
}

function answerTo(
  index: DescriptorIndex,
  request: ServerReflectionRequest["messageRequest"],
): ServerReflectionResponse["messageResponse"] {
  switch (request?.$case) {
    case "listServices": {
      const service = index.services.map((name) => ({ name }));
      return { $case: "listServicesResponse", value: { service } };
    }
    case "fileByFilename":
      return found(index.byName(request.value), request.value);
    case "fileContainingSymbol":
      return found(index.bySymbol(request.value), request.value);
    default:
      return problem(grpcStatus.NOT_FOUND, "There are no extensions here");
  }
}

function found(
  files: readonly DescribedFile[],
  wanted: string,
): ServerReflectionResponse["messageResponse"] {
  if (files.length === 0) {
    return problem(grpcStatus.NOT_FOUND, `Nothing is called "${wanted}"`);
  }
  const fileDescriptorProto = files.map(({ bytes }) => Buffer.from(bytes));
  return { $case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}

function problem(
  errorCode: number,
  errorMessage: string,
): ServerReflectionResponse["messageResponse"] {
  return { $case: "errorResponse", value: { errorCode, errorMessage } };
}
