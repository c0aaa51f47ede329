/** Reads a few numbers out of what a component serves on `/metrics`. */

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LINE = /^([A-Za-z_:][\w:]*)(\{.*\})? +(\S+)/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** Of the names given; others are passed over. */
export function readSamples(
  text: string,
  names: readonly string[],
): ReadonlyMap<string, readonly Sample[]> {
  const found = new Map<string, Sample[]>(names.map((name) => [name, []]));
  for (const line of text.split("\n")) {
    const [, name = "", labels = "", value = ""] = LINE.exec(line) ?? [];
    found.get(name)?.push({ labels: readLabels(labels), value: Number(value) });
  }
  return found;
}

function readLabels(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries([...text.matchAll(LABEL)].map(([, name, value]) => [name, value]));
}

/** Sum over all labels; undefined when there is none. */
export function total(samples: readonly Sample[] | undefined): number | undefined {
  return samples === undefined || samples.length === 0
    ? undefined
    : samples.reduce((sum, { value }) => sum + value, 0);
}
