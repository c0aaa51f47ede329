/** How large stored values may be. Every refusal has the figures and the setting to raise. */
import { AppError } from "../core/errors.ts";
import type { ExecutionId } from "../core/ids.ts";
import type { Pool } from "../store/pool.ts";
import { sumResultSizes } from "../store/result.ts";

export interface ResultLimits {
  /** One value, bytes. */
  readonly resultBytes: number;
  /** All values of one execution, each content once, bytes. */
  readonly executionBytes: number;
  /** A value that a template of the server looks into, bytes: it is held in memory. */
  readonly templateBytes: number;
}

export const DEFAULT_RESULT_LIMITS: ResultLimits = {
  resultBytes: 256 * 1024 * 1024,
  executionBytes: 16 * 1024 ** 3,
  templateBytes: 8 * 1024 * 1024,
};

/** What other servers store in one execution is seen after so long. */
const TOTAL_AGE_MS = 10_000;
const TOTALS_MAX = 1000;

interface Total {
  bytes: number;
  readonly readAtMs: number;
}

export class ResultQuota {
  readonly #pool: Pool;
  readonly #limits: ResultLimits;
  /** Oldest first. */
  readonly #totals = new Map<ExecutionId, Total>();

  constructor(pool: Pool, limits: ResultLimits) {
    this.#pool = pool;
    this.#limits = limits;
  }

  /** @throws AppError invalid RESULT_TOO_LARGE */
  checkSize(name: string, bytes: number): void {
    const { resultBytes } = this.#limits;
    if (bytes > resultBytes) {
      const message = `${name} has ${bytes} bytes or more, one result may have ${resultBytes} (NOETL_RESULT_BYTES)`;
      throw new AppError("invalid", "RESULT_TOO_LARGE", message);
    }
  }

  /** @throws AppError invalid RESULT_TOO_LARGE_HERE */
  checkTemplateSize(ref: string, bytes: number): void {
    const { templateBytes } = this.#limits;
    if (bytes > templateBytes) {
      const message =
        `a guard, set, loop or sub-playbook needs ${ref}, which has ${bytes} bytes; the server loads ${templateBytes} (NOETL_TEMPLATE_BYTES). ` +
        "Read single fields of it, name them in output_select, or compute them in the task";
      throw new AppError("invalid", "RESULT_TOO_LARGE_HERE", message);
    }
  }

  /** @throws AppError invalid RESULT_QUOTA if `bytes` more would be too many. */
  async checkTotal(executionId: ExecutionId, bytes: number): Promise<void> {
    const { executionBytes } = this.#limits;
    const { bytes: known } = await this.#totalOf(executionId);
    if (known + bytes > executionBytes) {
      const message = `Execution ${executionId} has ${known} bytes of stored results and wants ${bytes} more; it may have ${executionBytes} (NOETL_EXECUTION_RESULT_BYTES)`;
      throw new AppError("invalid", "RESULT_QUOTA", message);
    }
  }

  add(executionId: ExecutionId, bytes: number): void {
    const total = this.#totals.get(executionId);
    if (total !== undefined) {
      total.bytes += bytes;
    }
  }

  forget(executionId: ExecutionId): void {
    this.#totals.delete(executionId);
  }

  async #totalOf(executionId: ExecutionId): Promise<Total> {
    const known = this.#totals.get(executionId);
    if (known !== undefined && performance.now() - known.readAtMs < TOTAL_AGE_MS) {
      return known;
    }
    const bytes = await sumResultSizes(this.#pool, executionId);
    const total = { bytes, readAtMs: performance.now() };
    this.#totals.delete(executionId);
    this.#totals.set(executionId, total);
    for (const oldest of this.#totals.keys()) {
      if (this.#totals.size <= TOTALS_MAX) {
        break;
      }
      this.#totals.delete(oldest);
    }
    return total;
  }
}
