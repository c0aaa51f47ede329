/** Since when components are as they are, for those who look again and again. */
import type { TimeMs } from "../core/clock.ts";
import type { HealthStatus } from "./finding.ts";
import type { ComponentHealth, HealthReport } from "./report.ts";

/** A change that was seen. */
export interface Change {
  readonly component: string;
  readonly from: HealthStatus;
  readonly to: ComponentHealth;
  readonly atMs: TimeMs;
}

export interface Since {
  /** When it was first seen as it is. */
  readonly sinceMs: TimeMs;
  /** What it was before; undefined: nothing else was ever seen. */
  readonly before: HealthStatus | undefined;
}

export type Sinces = ReadonlyMap<string, Since>;

export class HealthHistory {
  readonly #known = new Map<string, Since & { readonly status: HealthStatus }>();

  get sinces(): Sinces {
    return this.#known;
  }

  /** Takes the next report; gives what is other than in the one before. */
  update({ components, checkedAtMs }: HealthReport): readonly Change[] {
    return components.flatMap((to) => {
      const { component, status } = to;
      const known = this.#known.get(component);
      if (known?.status === status) {
        return [];
      }
      this.#known.set(component, { status, sinceMs: checkedAtMs, before: known?.status });
      return known === undefined ? [] : [{ component, from: known.status, to, atMs: checkedAtMs }];
    });
  }
}
