/** Stored values in memory, for tests of what lies above the store. */
import { AppError } from "../../src/core/errors.ts";
import type { ExecutionId } from "../../src/core/ids.ts";
import type { NewResult, ResultInfo } from "../../src/engine/result.ts";
import { contentRef, JSON_TYPE, parseAddress } from "../../src/engine/result.ts";

const PIECE_BYTES = 1024 * 1024;

interface Stored {
  readonly info: ResultInfo;
  readonly bytes: Uint8Array;
}

/** Methods as the orchestrator has them. */
export class ResultShelf {
  readonly stored = new Map<string, Stored>();

  /** Puts a value there from outside; its reference. */
  add(executionId: string, name: string, text: string, more: Partial<NewResult> = {}): ResultInfo {
    const bytes = new TextEncoder().encode(text);
    const info = infoOf({ executionId: executionId as ExecutionId, name, ...more }, bytes);
    this.stored.set(info.ref.$ref, { info, bytes });
    return info;
  }

  /** JSON of a value. */
  read(ref: string): unknown {
    return JSON.parse(new TextDecoder().decode(this.find(ref).bytes));
  }

  find(ref: string): Stored {
    const address = parseAddress(ref);
    const found = [...this.stored.values()].find(({ info }) =>
      address?.kind === "content" ? info.sha256 === address.sha256 : info.name === address?.step,
    );
    if (found === undefined) {
      throw new AppError("not_found", "RESULT_NOT_FOUND", `There is no stored value ${ref}`);
    }
    return found;
  }

  async putResult(result: NewResult, source: AsyncIterable<Uint8Array>): Promise<ResultInfo> {
    const parts: Uint8Array[] = [];
    for await (const part of source) {
      parts.push(part.slice());
    }
    const bytes = new Uint8Array(Buffer.concat(parts));
    const info = infoOf(result, bytes);
    this.stored.set(info.ref.$ref, { info, bytes });
    return info;
  }

  async openResult(ref: string) {
    const { info, bytes } = await Promise.resolve(this.find(ref));
    return opened(info, bytes);
  }

  async openNamedResult(executionId: ExecutionId, name: string) {
    const found = [...this.stored.values()].findLast(
      ({ info }) => info.executionId === executionId && info.name === name,
    );
    if (found === undefined) {
      throw new AppError("not_found", "RESULT_NOT_FOUND", `There is no stored value ${name}`);
    }
    return await Promise.resolve(opened(found.info, found.bytes));
  }

  listResults(executionId: ExecutionId): Promise<readonly ResultInfo[]> {
    const infos = [...this.stored.values()].map(({ info }) => info);
    return Promise.resolve(infos.filter((info) => info.executionId === executionId));
  }

  removeResult(ref: string): Promise<boolean> {
    return Promise.resolve(this.stored.delete(ref));
  }

  /** The methods without their object. */
  handlers() {
    return {
      putResult: this.putResult.bind(this),
      openResult: this.openResult.bind(this),
      openNamedResult: this.openNamedResult.bind(this),
      listResults: this.listResults.bind(this),
      removeResult: this.removeResult.bind(this),
    };
  }
}

function opened(info: ResultInfo, bytes: Uint8Array) {
  const read = async function* (range = { begin: 0, end: bytes.length }) {
    for (let from = range.begin; from < range.end; from += PIECE_BYTES) {
      const end = Math.min(from + PIECE_BYTES, range.end);
      yield await Promise.resolve(bytes.subarray(from, end));
    }
  };
  return { info, read };
}

function infoOf(result: NewResult, bytes: Uint8Array): ResultInfo {
  const { executionId, name, step, scope = "execution", contentType = JSON_TYPE } = result;
  const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  const size = bytes.length;
  return {
    ref: { $ref: contentRef(executionId, name, sha256), size, type: "object" },
    ...{ executionId, name, step, scope, contentType, sha256, size, storedSize: size },
    store: "postgres",
    createdAtMs: 0,
  };
}
