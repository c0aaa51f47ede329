/** Numbers and times as people read them. Pure. */

export function formatDuration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) {
    return "";
  }
  if (seconds < 1) {
    return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  }
  if (seconds < 60) {
    return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} m ${Math.floor(seconds % 60)} s`;
  }
  return minutes < 1440
    ? `${Math.floor(minutes / 60)} h ${minutes % 60} m`
    : `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** In whole seconds: for what is counted while one looks. */
export function formatSpan(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return seconds < 60 ? `${seconds} s` : formatDuration(seconds);
}

/** How long ago, by its largest unit: `12 s ago`, `3 h ago`. */
export function formatAge(ms) {
  const [unit] = formatSpan(ms).match(/^\d+ \w+/) ?? ["now"];
  return ms < 2000 ? "now" : `${unit} ago`;
}

export function formatTime(iso) {
  return iso
    ? new Date(iso).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" })
    : "";
}

export function formatSize(bytes) {
  if (bytes === null || bytes === undefined) {
    return "";
  }
  const unit = ["B", "KiB", "MiB", "GiB"].findIndex((_, index) => bytes < 1024 ** (index + 1));
  const at = unit === -1 ? 3 : unit;
  const value = bytes / 1024 ** at;
  return `${value.toFixed(at === 0 || value >= 100 ? 0 : 1)} ${["B", "KiB", "MiB", "GiB"][at]}`;
}

/** Of GPUs: `512 MiB`, `79.6 GiB`. */
export function formatMib(mib) {
  return mib < 1024 ? `${Math.round(mib)} MiB` : `${(mib / 1024).toFixed(1)} GiB`;
}

export function formatCount(count) {
  return Number(count).toLocaleString("en");
}

export function times(count) {
  return count === 1 ? "once" : `${formatCount(count)} times`;
}

/** `1 item`, `2 items`. */
export function plural(count, name) {
  return `${formatCount(count)} ${name}${count === 1 ? "" : "s"}`;
}
