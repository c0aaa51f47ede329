/** Messages between the worker and its tool processes: a 32-bit little-endian length, then UTF-8. */

const HEADER_BYTES = 4;

export function encodeFrame(text: string): Uint8Array {
  const body = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(HEADER_BYTES + body);
  frame.writeUInt32LE(body, 0);
  frame.write(text, HEADER_BYTES, "utf8");
  return frame;
}

/** Puts frames together from chunks and hands on the text of each, in order. */
export function createFrameReader(onFrame: (text: string) => void): (chunk: Uint8Array) => void {
  let parts: Buffer[] = [];
  let size = 0;
  return (chunk) => {
    parts.push(Buffer.from(chunk));
    size += chunk.length;
    for (let wanted = frameBytes(parts); size >= wanted; wanted = frameBytes(parts)) {
      const whole = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
      parts = whole.length > wanted ? [whole.subarray(wanted)] : [];
      size -= wanted;
      onFrame(whole.toString("utf8", HEADER_BYTES, wanted));
    }
  };
}

/** Bytes of the first frame, its header included; infinite while its header is not complete. */
function frameBytes(parts: Buffer[]): number {
  const first = parts[0];
  if (first === undefined) {
    return Number.POSITIVE_INFINITY;
  }
  if (first.length >= HEADER_BYTES) {
    return HEADER_BYTES + first.readUInt32LE(0);
  }
  if (parts.length === 1) {
    return Number.POSITIVE_INFINITY;
  }
  parts.splice(0, 2, Buffer.concat(parts.slice(0, 2)));
  return frameBytes(parts);
}
