/** A stand-in for an OpenTelemetry collector: takes OTLP over HTTP in protobuf and keeps the spans. */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: it has none. */
  readonly parentId: string;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly isError: boolean;
  /** `service.name` of its resource. */
  readonly service: string;
}

export interface OtlpReceiver extends AsyncDisposable {
  /** For `OTEL_EXPORTER_OTLP_ENDPOINT`. */
  readonly url: string;
  readonly spans: readonly ReceivedSpan[];
  /** Headers of the last request. */
  headers: Headers | undefined;
}

export function startOtlpReceiver(): OtlpReceiver {
  const spans: ReceivedSpan[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      if (new URL(request.url).pathname !== "/v1/traces") {
        return new Response("", { status: 404 });
      }
      receiver.headers = request.headers;
      spans.push(...decode(new Uint8Array(await request.arrayBuffer())));
      return new Response(new Uint8Array(), {
        headers: { "content-type": "application/x-protobuf" },
      });
    },
  });
  const receiver: OtlpReceiver = {
    url: `http://127.0.0.1:${server.port}`,
    spans,
    headers: undefined,
    [Symbol.asyncDispose]: async () => await server.stop(true),
  };
  return receiver;
}

/** Fields of one message by number; opentelemetry-proto, trace/v1 and common/v1. */
type Fields = ReadonlyMap<number, readonly (Uint8Array | number)[]>;

function fieldsOf(bytes: Uint8Array | number | undefined): Fields {
  const fields = new Map<number, (Uint8Array | number)[]>();
  const reader = new BinaryReader(bytes instanceof Uint8Array ? bytes : new Uint8Array());
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    const value = read(reader, type);
    fields.set(number, [...(fields.get(number) ?? []), value]);
  }
  return fields;
}

function read(reader: BinaryReader, type: WireType): Uint8Array | number {
  switch (type) {
    case WireType.LengthDelimited:
      return reader.bytes();
    case WireType.Bit64:
      return Number(reader.fixed64());
    case WireType.Bit32:
      return reader.fixed32();
    default:
      return Number(reader.int64());
  }
}

function decode(body: Uint8Array): readonly ReceivedSpan[] {
  return (fieldsOf(body).get(1) ?? []).flatMap((resourceSpans) => {
    const parts = fieldsOf(resourceSpans);
    const resource = attributesOf(fieldsOf(parts.get(1)?.[0]).get(1));
    const service = String(resource["service.name"]);
    return (parts.get(2) ?? []).flatMap((scope) =>
      (fieldsOf(scope).get(2) ?? []).map((span) => toSpan(fieldsOf(span), service)),
    );
  });
}

const NANOSECONDS = 1e6;

function toSpan(fields: Fields, service: string): ReceivedSpan {
  const status = fieldsOf(fields.get(15)?.[0]);
  return {
    traceId: hex(fields.get(1)?.[0]),
    spanId: hex(fields.get(2)?.[0]),
    parentId: hex(fields.get(4)?.[0]),
    name: text(fields.get(5)?.[0]),
    startMs: Number(fields.get(7)?.[0]) / NANOSECONDS,
    endMs: Number(fields.get(8)?.[0]) / NANOSECONDS,
    attributes: attributesOf(fields.get(9)),
    isError: status.get(3)?.[0] === 2,
    service,
  };
}

function attributesOf(
  list: readonly (Uint8Array | number)[] = [],
): Record<string, string | number | boolean> {
  return Object.fromEntries(
    list.map((each) => {
      const fields = fieldsOf(each);
      return [text(fields.get(1)?.[0]), readValue(fieldsOf(fields.get(2)?.[0]))];
    }),
  );
}

function readValue(fields: Fields): string | number | boolean {
  const [texts, flag, count] = [fields.get(1), fields.get(2), fields.get(3)];
  if (texts !== undefined) {
    return text(texts[0]);
  }
  return flag === undefined ? Number(count?.[0]) : flag[0] === 1;
}

function text(bytes: Uint8Array | number | undefined): string {
  return bytes instanceof Uint8Array ? new TextDecoder().decode(bytes) : "";
}

function hex(bytes: Uint8Array | number | undefined): string {
  return bytes instanceof Uint8Array ? Buffer.from(bytes).toString("hex") : "";
}
