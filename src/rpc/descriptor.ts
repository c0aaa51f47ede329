/**
 * Reads the outline of a serialised `google.protobuf.FileDescriptorSet`: names only. The field
 * numbers are those of descriptor.proto, see https://protobuf.dev/reference/protobuf/google.protobuf.
 */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

export interface DescribedFile {
  readonly name: string;
  /** The serialised `FileDescriptorProto`. */
  readonly bytes: Uint8Array;
  /** Names of the files it imports. */
  readonly imports: readonly string[];
  /** With their package. */
  readonly services: readonly string[];
  /** Services, messages and enums at the top level, with their package. */
  readonly symbols: readonly string[];
}

const SET_FILE = 1;
const FILE_NAME = 1;
const FILE_PACKAGE = 2;
const FILE_DEPENDENCY = 3;
const FILE_MESSAGE = 4;
const FILE_ENUM = 5;
const FILE_SERVICE = 6;
/** Of messages, enums and services alike. */
const NAME = 1;

export function describeFiles(set: Uint8Array): readonly DescribedFile[] {
  return (readFields(set).get(SET_FILE) ?? []).map(describeFile);
}

function describeFile(bytes: Uint8Array): DescribedFile {
  const fields = readFields(bytes);
  const packageName = texts(fields.get(FILE_PACKAGE))[0] ?? "";
  const named = (field: number): readonly string[] =>
    (fields.get(field) ?? []).flatMap((item) =>
      texts(readFields(item).get(NAME)).map((name) => `${packageName}.${name}`),
    );
  const services = named(FILE_SERVICE);
  return {
    name: texts(fields.get(FILE_NAME))[0] ?? "",
    bytes,
    imports: texts(fields.get(FILE_DEPENDENCY)),
    services,
    symbols: [...services, ...named(FILE_MESSAGE), ...named(FILE_ENUM)],
  };
}

/** The length-delimited fields of a message, by number, in order. */
function readFields(bytes: Uint8Array): ReadonlyMap<number, readonly Uint8Array[]> {
  const fields = new Map<number, Uint8Array[]>();
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (type !== WireType.LengthDelimited) {
      reader.skip(type, number);
      continue;
    }
    const values = fields.get(number) ?? [];
    values.push(reader.bytes());
    fields.set(number, values);
  }
  return fields;
}

function texts(values: readonly Uint8Array[] = []): readonly string[] {
  const decoder = new TextDecoder();
  return values.map((value) => decoder.decode(value));
}
