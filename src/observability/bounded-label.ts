/**
 * Values of a label that people choose, such as names of playbooks: the first so many by their name, the others together
 * as {@link OVERFLOW}, so that nobody's names can fill the memory of whoever stores the metrics.
 */
export const OVERFLOW = "other";

/** @param max values with a series of their own, per process. */
export function createBoundedLabel(max: number): (value: string) => string {
  const known = new Set<string>();
  return (value) => {
    if (known.has(value)) {
      return value;
    }
    if (known.size >= max) {
      return OVERFLOW;
    }
    known.add(value);
    return value;
  };
}
