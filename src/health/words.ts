/** Quantities as people say them. */

/** `4 s`, `2.5 s`, `300 ms`. */
export function secondsText(ms: number): string {
  return ms < 1000 ? `${ms} ms` : `${Math.round(ms / 100) / 10} s`;
}

/** `12 ms`, `3 s`, `5 min`, `7 h`, `12 days`: of ages, where more digits say no more. */
export function ageText(ms: number): string {
  if (ms < 1000) {
    return `${Math.max(0, Math.round(ms))} ms`;
  }
  const steps: readonly (readonly [number, string])[] = [
    [86_400_000, "days"],
    [3_600_000, "h"],
    [60_000, "min"],
  ];
  const [size, unit] = steps.find(([each]) => ms >= 2 * each) ?? [1000, "s"];
  return `${Math.round(ms / size)} ${unit}`;
}

/** `12.3 MiB`. */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** step;
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

/** `1 worker`, `2 workers`; `many` when it is not just an `s`. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** The first few, and how many more there are. */
export function listText(names: readonly string[], max = 3): string {
  const shown = names.slice(0, max).join(", ");
  return names.length > max ? `${shown} and ${names.length - max} more` : shown;
}

/** One line of at most `max` characters, of what somebody else has written. */
export function clipped(text: string, max = 160): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > max ? `${line.slice(0, max - 1)}…` : line;
}

/** The same of an error whose cause stands at its end, as in Go. */
export function clippedCause(text: string, max = 120): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > max ? `…${line.slice(1 - max)}` : line;
}
