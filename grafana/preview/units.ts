/** Values as people read them, in Grafana's units. */

const THOUSANDS = ["", " K", " M", " G", " T"];
const BINARY = [" B", " KiB", " MiB", " GiB", " TiB"];

/** @param decimals default: three figures. */
export function withUnit(value: number, unit = "short", decimals?: number): string {
  if (!Number.isFinite(value)) {
    return "–";
  }
  switch (unit) {
    case "percentunit":
      return `${figures(value * 100, decimals)} %`;
    case "s":
      return duration(value, decimals);
    case "bytes":
      return scaled(value, 1024, BINARY, decimals);
    case "Bps":
      return `${scaled(value, 1024, BINARY, decimals)}/s`;
    case "celsius":
      return `${figures(value, decimals)} °C`;
    case "watt":
      return `${figures(value, decimals)} W`;
    case "reqps":
      return `${scaled(value, 1000, THOUSANDS, decimals)} req/s`;
    default:
      return scaled(value, 1000, THOUSANDS, decimals);
  }
}

function figures(value: number, decimals?: number): string {
  return decimals === undefined ? String(Number(value.toPrecision(3))) : value.toFixed(decimals);
}

function scaled(value: number, base: number, names: readonly string[], decimals?: number): string {
  const power = Math.min(
    names.length - 1,
    Math.floor(Math.log(Math.max(1, Math.abs(value))) / Math.log(base)),
  );
  return `${figures(value / base ** power, decimals)}${names[power]}`;
}

const DAY = 86_400;

function duration(seconds: number, decimals?: number): string {
  const size = Math.abs(seconds);
  const [factor, name] = [
    [1e-6, "µs", size < 1e-3],
    [1e-3, "ms", size < 1],
    [1, "s", size < 60],
    [60, "min", size < 3600],
    [3600, "h", size < DAY],
  ].find(([, , fits]) => fits) ?? [DAY, "days"];
  return size === 0 ? "0 s" : `${figures(seconds / Number(factor), decimals)} ${name}`;
}
